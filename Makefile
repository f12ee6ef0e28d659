# Everything is made inside this checkout: .venv (the controller's tools) and .cache (servers).
PYTHON ?= python3
DB ?= postgresql
ROWS ?= 300000
BASE ?= HEAD~1
LOGS ?= 4000000
JOBS ?= 2
CORE ?= 2.21.5
HOSTILE ?=
SEEDS ?= 200
MATRIX ?=
GUARDS ?=
GUARD_SAMPLE ?= 8

BIN := .venv/bin
STAMP := .venv/.made-from-requirements
MOLECULE := .cache/molecule
NEWER := .cache/ansible-core-$(CORE)
export PATH := $(CURDIR)/$(BIN):$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
PYTHON_CODE := lab benchmarks tests roles/prefect_maintenance/library

.PHONY: help venv demo lint format docs monitoring sanity unit integration containers pairs molecule \
	molecule-images guards guards-sample dist changelog test test-matrix test-ansible-core \
	hostile kills worlds bench bench-compare bench-idle bench-progress bench-plan bench-api \
	bench-compact bench-archive bench-fleet clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

venv: $(STAMP)  ## the controller's tools in .venv

$(STAMP): requirements/dev.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet "$$(grep -o "^uv==[0-9.]*" $<)"
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements/dev.txt
	touch $@

demo: venv  ## the whole job on a real server: DB=postgresql|sqlite, ROWS=300000
	$(BIN)/python -m lab.demo --db $(DB) --rows $(ROWS)

lint: venv  ## ruff, mypy, yamllint, ansible-lint
	ruff check .
	ruff format --check .
	mypy
	yamllint --strict .
	ansible-lint --offline

format: venv  ## let ruff lay out the Python
	ruff check --fix .
	ruff format .

docs: venv  ## write what follows from the table of options, and the schema of the report
	PYTHONPATH=roles/prefect_maintenance/module_utils $(BIN)/python -m lab.docs

monitoring: venv  ## draw docs/monitoring.svg: a Prometheus answers the dashboard's queries
	PYTHONPATH=roles/prefect_maintenance/module_utils $(BIN)/python -m lab.monitoring

sanity: venv  ## ansible-test sanity on the collection
	$(BIN)/python -m lab.sanity

unit: venv  ## tests that need no server
	pytest tests/unit

integration: venv  ## tests against real PostgreSQL, SQLite and Prefect
	pytest tests/integration --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

$(MOLECULE)/.made: requirements/molecule.txt $(STAMP)
	$(BIN)/uv venv --quiet --clear $(MOLECULE)
	$(BIN)/uv pip install --quiet --python $(MOLECULE) -r $<
	touch $@

molecule:  ## the scenarios in containers: SCENARIOS="default sqlite", else all
	molecule/test.sh $(SCENARIOS)

molecule-images:  ## for machines without a registry: images from Debian packages, as root
	molecule/build-images.sh

# Two of the four; all of them take as long as the other tests.
containers: venv
	molecule/test.sh --if-possible $(or $(SCENARIOS),default schedule)

pairs: venv  ## the contract on the oldest Prefect and PostgreSQL
	$(BIN)/python -m lab.matrix --bounded

guards: venv  ## break each guard and see a test fail: GUARDS='--only mask', '--write'
	$(BIN)/python -m lab.guards --processes $(JOBS) $(GUARDS)

guards-sample: venv
	$(BIN)/python -m lab.guards --processes $(JOBS) --sample $(GUARD_SAMPLE)

dist: venv  ## the role and the collection as archives in dist/
	$(BIN)/python -m lab.dist

changelog: venv  ## move changelogs/fragments into CHANGELOG.rst, under the version of galaxy.yml
	$(BIN)/python -m lab.changelog

# The containers wait half of their time; the other tests work meanwhile.
test: lint sanity unit guards-sample  ## what CI runs
	$(MAKE) --jobs=2 integration containers pairs

test-matrix: venv  ## the contract against every supported Prefect, PostgreSQL 14 to 18
	$(BIN)/python -m lab.matrix $(MATRIX)

test-ansible-core: venv  ## the Ansible content under a newer ansible-core, with a Python 3.12 or newer
	mkdir -p .cache
	echo "ansible-core==$(CORE)" > $(NEWER).txt
	uv venv --quiet --clear --python '>=3.12' $(NEWER)
	uv pip install --quiet --python $(NEWER) --override $(NEWER).txt -r requirements/dev.txt
	PATH="$(CURDIR)/$(NEWER)/bin:$$PATH" pytest tests/unit tests/integration/role/test_playbooks.py

hostile: venv  ## others act at every statement of every step: HOSTILE='--party TRUNCATE'
	PYTHONPATH=.:roles/prefect_maintenance/module_utils:tests/helpers \
		$(BIN)/python -m tests.hostile --processes $(JOBS) $(HOSTILE)

kills: venv  ## SIGKILL at every statement of a compaction, and the next run
	KILLS=1 pytest tests/integration/execute/test_compact_faults.py -k killed_at

worlds: venv  ## random rules over random worlds beside the oracle, many more than the tests': SEEDS=200
	WORLDS=$(SEEDS) pytest tests/integration/plan/test_rules.py --numprocesses $(JOBS) --dist load

bench: venv  ## the benchmarks behind docs/benchmarks.md, at LOGS=4000000 rows
	PYTHONPATH=roles/prefect_maintenance/module_utils $(BIN)/python -m benchmarks --logs $(LOGS)

bench-compare: venv  ## the purge by rewrite beside another revision's: BASE=HEAD~1
	$(BIN)/python -m benchmarks.compare --base $(BASE)

bench-idle: venv  ## a run that finds nothing to do beside another revision's: BASE=HEAD~1
	$(BIN)/python -m benchmarks.idle --base $(BASE)

bench-progress: venv  ## what it costs a purge to say how far it is
	PYTHONPATH=roles/prefect_maintenance/module_utils $(BIN)/python -m benchmarks.progress

bench-plan: venv  ## the plan with rules beside that without: 1 000 000 runs, 4 000 000 logs
	$(BIN)/python -m benchmarks.plan

bench-compact: venv  ## compaction beside VACUUM FULL on the tables that others refer to
	PYTHONPATH=roles/prefect_maintenance/module_utils $(BIN)/python -m benchmarks.compact

bench-api: venv  ## deleting through the API with and without pauses, and what reads wait meanwhile
	PYTHONPATH=roles/prefect_maintenance/module_utils $(BIN)/python -m benchmarks.api

bench-sqlite: venv  ## what a server on SQLite answers while its file is maintained
	PYTHONPATH=roles/prefect_maintenance/module_utils $(BIN)/python -m benchmarks.sqlite

bench-archive: venv  ## an archive beside COPY TO STDOUT of the same rows, and its memory
	PYTHONPATH=roles/prefect_maintenance/module_utils $(BIN)/python -m benchmarks.archive

bench-fleet: venv  ## what a rollout costs the controller, behind docs/fleet.md
	$(BIN)/python -m benchmarks.fleet --hosts 50 200 --forks 20

clean:  ## remove everything that was made
	rm -rf .venv .cache dist reports playbooks/reports .ruff_cache .mypy_cache .pytest_cache .ansible
