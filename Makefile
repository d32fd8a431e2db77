# Everything lives in .venv; Python 3.11 with venv, curl and openssl are all a machine must have, and
# for the tests mosquitto, or Debian's apt to get it with.
SHELL := /bin/bash
BIN := .venv/bin
UV := 0.13.9
CDK := 2.1148.1
# Evaluates IAM policies in tests. AGPL: runs here, ships nowhere.
IAM_SIMULATE := 0.1.173
export PATH := $(CURDIR)/$(BIN):$(CURDIR)/.venv/node_modules/.bin:$(PATH)

.PHONY: demo test check verify-deploy local synth deploy lock clean

demo: .venv/ready            ## see the product's main job happen on this machine
	$(BIN)/python -m local demo

test: .venv/mosquitto/ready  ## run the whole suite
	$(BIN)/coverage erase
	$(BIN)/pytest tests --numprocesses 2 --dist loadgroup --cov --cov-report=
	$(BIN)/coverage report --fail-under 95

check: .venv/ready           ## lint, format, types, imports, docs
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy functions infra device console local app.py tests
	$(BIN)/lint-imports
	$(BIN)/pytest tests/unit/test_documents.py

verify-deploy: .venv/ready   ## a deployment's whole life, by the real CDK CLI, without AWS
	$(BIN)/pytest tests/deploy --exitfirst -vv --durations 0

local: .venv/ready           ## the whole product on this machine, until Ctrl-C
	$(BIN)/python -m local up

synth: .venv/ready           ## the CloudFormation template, into cdk.out
	cdk synth --quiet

deploy: .venv/ready          ## into the AWS account of the usual variables
	cdk deploy

lock: .venv/ready            ## write both requirement files from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 \
	  --generate-hashes --quiet --output-file requirements.txt
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 \
	  --generate-hashes --quiet --output-file functions/requirements.txt

clean:                       ## forget everything that can be made again
	rm -rf .venv .local cdk.out

.venv/ready: requirements.txt Makefile
	python3 -m venv .venv
	$(BIN)/pip install --quiet uv==$(UV)
	$(BIN)/uv pip install --quiet --require-hashes --requirement requirements.txt
	$(BIN)/npm install --silent --no-audit --no-fund --prefix .venv aws-cdk@$(CDK) \
	  @cloud-copilot/iam-simulate@$(IAM_SIMULATE)
	printf '%s\n' $(CURDIR) $(CURDIR)/functions > .venv/lib/python3.11/site-packages/firstboot.pth
	touch $@

# Mosquitto's broker and clients: Debian's packages, unpacked here, not installed. With lists and a
# cache of its own apt needs no root; as root it must not become a user who can't write here.
MOSQUITTO := .venv/mosquitto
APT := apt-get -qq -o Dir::State::lists=$(CURDIR)/$(MOSQUITTO)/lists -o Dir::Cache=$(CURDIR)/$(MOSQUITTO)/cache \
  -o APT::Sandbox::User=root -o Debug::NoLocking=1

$(MOSQUITTO)/ready: | .venv/ready
	rm -rf $(MOSQUITTO) $(BIN)/mosquitto*
	mkdir -p $(MOSQUITTO)/lists/partial $(MOSQUITTO)/cache/archives/partial $(MOSQUITTO)/root
	PATH=$$PATH:/usr/sbin; if ! command -v mosquitto || ! command -v mosquitto_pub; then \
	  set -e; $(APT) update; $(APT) install --yes --download-only --no-install-recommends mosquitto mosquitto-clients; \
	  for package in $(MOSQUITTO)/cache/archives/*.deb; do dpkg-deb --extract $$package $(MOSQUITTO)/root; done; \
	  for program in sbin/mosquitto bin/mosquitto_pub bin/mosquitto_sub bin/mosquitto_rr; do \
	    printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$$@"\n' $(CURDIR)/$(MOSQUITTO)/root/usr/lib/*-linux-gnu \
	      $(CURDIR)/$(MOSQUITTO)/root/usr/$$program > $(BIN)/$${program#*/}; \
	    chmod +x $(BIN)/$${program#*/}; \
	  done; \
	fi
	rm -rf $(MOSQUITTO)/lists $(MOSQUITTO)/cache
	touch $@
