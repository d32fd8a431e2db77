# Everything lives in .venv; Python 3.11 with venv, curl and openssl are all a machine must have.
SHELL := /bin/bash
BIN := .venv/bin
UV := 0.13.9
CDK := 2.1148.1
export PATH := $(CURDIR)/$(BIN):$(CURDIR)/.venv/node_modules/.bin:$(PATH)

.PHONY: demo test check local synth deploy lock clean

demo: .venv/ready            ## see the product's main job happen on this machine
	$(BIN)/python -m local demo

test: .venv/ready            ## run the whole suite
	$(BIN)/coverage erase
	$(BIN)/pytest tests --numprocesses 2 --dist loadgroup --cov --cov-report=
	$(BIN)/coverage report --fail-under 95

check: .venv/ready           ## lint, format, types, imports, docs
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy functions infra device console local app.py tests
	$(BIN)/lint-imports
	$(BIN)/pytest tests/unit/test_documents.py

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
	$(BIN)/npm install --silent --no-audit --no-fund --prefix .venv aws-cdk@$(CDK)
	printf '%s\n' $(CURDIR) $(CURDIR)/functions > .venv/lib/python3.11/site-packages/firstboot.pth
	touch $@
