// Decides for tests/isolation/evaluators.py: reads a line with a batch of cases, and writes a line of decisions.
import { createInterface } from 'node:readline'
import { createRequire } from 'node:module'

const require = createRequire(process.argv[2])
const { runSimulation, runUnsafeSimulation } = require('@cloud-copilot/iam-simulate')

const simulation = ({ identity, session, principal, account, action, resource, context }) => ({
  request: { principal, action, resource: { resource, accountId: account }, contextVariables: context },
  identityPolicies: identity.map((policy, number) => ({ name: `${number}`, policy })),
  sessionPolicy: session ?? undefined,
  serviceControlPolicies: [],
  resourceControlPolicies: [],
})

// The checked simulation drops context keys that IAM's reference does not list for an action, and with them
// all of AWS IoT's policy variables. The unchecked one keeps them, but has no session policies.
async function decision(asked) {
  if (asked.session === null) return runUnsafeSimulation(simulation(asked), {})
  const answer = await runSimulation(simulation(asked), {})
  if (answer.resultType === 'error') throw new Error(JSON.stringify([answer.errors, asked]))
  const ignored = answer.result?.ignoredContextKeys ?? []
  if (ignored.length) throw new Error(`ignored ${ignored}: ${JSON.stringify(asked)}`)
  return answer.overallResult
}

for await (const line of createInterface({ input: process.stdin })) {
  const { policies, cases } = JSON.parse(line)
  const decisions = []
  for (const [number, action, resource, context] of cases)
    decisions.push(await decision({ ...policies[number], action, resource, context }))
  process.stdout.write(`${JSON.stringify(decisions)}\n`)
}
