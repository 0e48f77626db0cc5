# Every chore is one word. Python >= 3.11, make and a package index are all that must be there.

PYTHON ?= python3
VENV := .venv
PEERS := benchmarks/.venv
NODE := tests/generated_clients
RUN := $(VENV)/bin/python
PRODUCTION := DEBUG=false HTTPS=true ALLOWED_HOSTS=catalogue.example.com LIVE_URL=same-origin ODATA_HOME=$(VENV)/lint-home \
	SECRET_KEY=only-for-the-check-0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGH

.PHONY: help run test lint audit bench lock clean
.DEFAULT_GOAL := help

help: ## list the chores
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile

run: $(VENV)/run.stamp ## start everything, from nothing to 500,000 products
	@exec $(RUN) manage.py up

test: lint $(NODE)/node_modules/made.stamp ## all linters, then all tests, on all cores; PYTEST_ARGS are passed on
	$(RUN) -m pytest --numprocesses logical --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

lint: $(VENV)/dev.stamp ## style, types, direction of imports, settings for production, migrations
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy .
	$(VENV)/bin/lint-imports
	$(PRODUCTION) $(RUN) manage.py check --deploy --fail-level WARNING
	SECRET_KEY=lint ODATA_HOME=$(VENV)/lint-home $(RUN) -W "ignore:Got an error checking" manage.py makemigrations --check --dry-run

audit: $(VENV)/audit/audit.stamp ## ask the Internet for known holes in the versions that we pin
	@# Strict: a service that knows nothing of a package must not pass for one that knows of no hole.
	$(VENV)/audit/bin/pip-audit --strict --disable-pip --no-deps --progress-spinner off $(AUDIT_ARGS) \
		-r requirements.txt -r requirements-extras.txt -r requirements-dev.txt

bench: $(VENV)/dev.stamp $(PEERS)/peers.stamp ## measure, beside other ways to import; writes docs/performance.md
	$(RUN) benchmarks/run.py $(BENCH_ARGS)

lock: $(VENV)/run.stamp ## pin what requirements.in asks for, for every Python that we run on
	$(RUN) -m pip install --quiet --disable-pip-version-check uv
	$(VENV)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-header \
		--annotation-style=line requirements.in --output-file requirements.txt
	$(VENV)/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-header --annotation-style=line \
		--constraint requirements.txt requirements-extras.in --output-file requirements-extras.txt

clean: ## remove the virtual environment and the caches; the data in ODATA_HOME stays
	rm -rf $(VENV) $(PEERS) $(NODE)/node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# --- the virtual environment -------------------------------------------------------------------
# A stamp is written last: what was interrupted is done again.

$(VENV)/made.stamp:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not there: install Python 3.11 or newer, or name it by 'make PYTHON=...'." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "$(PYTHON) is $$($(PYTHON) -V 2>&1), and Python 3.11 or newer is needed: install it, or name it by 'make PYTHON=python3.12 ...'." >&2; exit 1; }
	@# Debian's python3 lacks ensurepip unless python3-venv is there; its pip can do the same.
	@$(PYTHON) -m venv --clear $(VENV) >/dev/null 2>&1 \
		|| { $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(VENV) install --quiet pip; } \
		|| { echo "No virtual environment could be made: install the package python3-venv (or pip), then try again." >&2; exit 1; }
	@touch $@

$(VENV)/run.stamp: $(VENV)/made.stamp requirements.txt
	@echo "Installing what requirements.txt names ..."
	@$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp requirements-dev.txt requirements-extras.txt
	@echo "Installing what requirements-dev.txt names ..."
	@$(RUN) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# What audits the libraries brings two dozen of its own: they stay out of the environment that runs the service.
$(VENV)/audit/audit.stamp: $(VENV)/made.stamp
	@echo "Installing pip-audit ..."
	@$(RUN) -m venv --clear --without-pip $(VENV)/audit
	@$(RUN) -m pip --python $(VENV)/audit install --quiet --disable-pip-version-check "pip-audit~=2.10"
	@touch $@

# What the benchmarks are compared with has libraries that nothing else of the project may need.
$(PEERS)/peers.stamp: $(VENV)/made.stamp requirements.txt benchmarks/requirements.txt
	@echo "Installing what benchmarks/requirements.txt names ..."
	@$(RUN) -m venv --clear --without-pip $(PEERS)
	@$(RUN) -m pip --python $(PEERS) install --quiet --disable-pip-version-check \
		--constraint requirements.txt -r benchmarks/requirements.txt
	@touch $@

# For one test, of clients in TypeScript: where Node or its packages can't be had, that test is skipped and says so.
$(NODE)/node_modules/made.stamp: $(NODE)/package-lock.json
	@if command -v npm >/dev/null; then \
		echo "Installing what $(NODE)/package-lock.json names ..."; \
		npm ci --prefix $(NODE) --silent && touch $@ || echo "npm could not install it: no client is made in TypeScript." >&2; \
	else \
		echo "npm is not there: no client is made in TypeScript. Install Node 20 or newer." >&2; \
	fi
