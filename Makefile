# The commands of this project. PYTHON picks the interpreter that .venv is made from.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# A tritonserver in the user's cache, with a Python for its models.
TRITON = PYTHON=$(BIN)/python tools/triton.sh
# A torchvision in the user's cache, with a torch that suits it.
VISION = PYTHON=$(BIN)/python tools/vision.sh
# A helm in the user's cache, with what checks charts and Dockerfiles.
HELM = PYTHON=$(BIN)/python tools/helm.sh
# `make demo GENERATOR=...`: triton, or what --generator takes.
SERVED = $(if $(filter triton,$(GENERATOR)),--triton,$(if $(GENERATOR),--generator $(GENERATOR)))
# Tests wait for brokers and timers half of their time: three processes for two cores.
TESTERS ?= $(shell $(PYTHON) -c "import os; print(min(16, 1 + (os.cpu_count() or 1) * 5 // 4))")
# One thread a process: a pool as large as the machine stalls as soon as anything else is busy.
export OMP_NUM_THREADS ?= 1

.PHONY: help demo test check chaos field-cases soak bench bench-simulation bench-gpu bench-generator docs images images-lock chart cluster format clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile

demo: $(VENV)/.demo ## ten devices learn together on this machine, on a page until Ctrl-C; ALGORITHM=fedtgp, GENERATOR=triton, CONSOLE=no
	@$(if $(filter triton,$(GENERATOR)),$(TRITON))
	$(BIN)/edgeloop demo $(if $(ALGORITHM),--algorithm $(ALGORITHM)) $(SERVED) $(if $(filter no,$(CONSOLE)),--no-console)

test: $(VENV)/.dev check ## all checks and all tests
	@tools/mosquitto.sh || [ -z "$$CI" ]
	@tools/postgres.sh || [ -z "$$CI" ]
	@tools/prometheus.sh || [ -z "$$CI" ]
	@tools/axe.sh || [ -z "$$CI" ]
	@$(HELM) || [ -z "$$CI" ]
	@$(TRITON) || [ -z "$$CI" ]
	@$(VISION) || [ -z "$$CI" ]
	PATH="$$PATH:/usr/sbin" $(BIN)/python -m pytest --numprocesses $(TESTERS) --dist worksteal

check: $(VENV)/.dev ## format, lint, types, architecture
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

chaos: $(VENV)/.dev ## a task of real processes with faults drawn by a seed: FAULTS=1000 SEED=1; DATABASE=postgresql, RECORD=chaos
	@tools/mosquitto.sh
	$(BIN)/python -m tests.chaos --faults $(or $(FAULTS),100) --seed $(or $(SEED),0) $(if $(DATABASE),--database $(DATABASE)) $(if $(RECORD),--record $(RECORD))

field-cases: $(VENV)/.dev ## what went wrong in the field once: bad links, brokers, machines, joining
	@tools/mosquitto.sh
	PATH="$$PATH:/usr/sbin" $(BIN)/python -m pytest -m field

soak: $(VENV)/.dev ## what grows with the rounds: ROUNDS=2000; STORE=1 writes benchmarks/results/soak.md
	@tools/mosquitto.sh
	$(BIN)/python -m benchmarks.soak --rounds $(or $(ROUNDS),2000) $(if $(STORE),--store)

bench: $(VENV)/.dev ## seconds per round beside naive training, timed in the same run
	$(BIN)/python -m benchmarks.choices
	$(BIN)/python -m benchmarks.server
	$(BIN)/python -m benchmarks.har
	@tools/mosquitto.sh
	PATH="$$PATH:/usr/sbin" $(BIN)/python -m benchmarks.ingest

bench-simulation: $(VENV)/.dev ## a simulated round beside the machine's rate, in every way to compute
	$(BIN)/python -m benchmarks.simulation

bench-gpu: $(VENV)/.dev ## what a GPU gives, in ten minutes at most: DEVICE=cpu SMALL=1 to try it
	$(BIN)/python -m benchmarks.gpu --device $(or $(DEVICE),cuda) $(if $(SMALL),--small)

bench-generator: $(VENV)/.dev ## a generator behind Triton beside the same one in process
	@$(TRITON)
	$(BIN)/python -m benchmarks.generator

docs: $(VENV)/.dev ## the documentation as a site, in site/: open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

images: ## the four container images; REGISTRY, TAG, PLATFORMS, PUSH=1
	@tools/images.sh

images-lock: ## the digests of others' images into images.lock, where their registries can be reached
	@tools/images_lock.sh

chart: $(VENV)/.dev ## the chart as a package, in dist/; CHART_ARGUMENTS says where it is at home: docs/kubernetes.md
	@$(HELM)
	$(BIN)/python tools/package_chart.py --helm "$$HOME/.cache/edgeloop/helm/bin/helm" $(CHART_ARGUMENTS)

cluster: $(VENV)/.dev ## the chart on a real cluster, with a verdict: KUBECONFIG, kind or k3d; else the pods as podman containers
	@$(HELM)
	PATH="$$HOME/.cache/edgeloop/helm/bin:$$PATH" $(BIN)/python -m tests.rehearsal

format: $(VENV)/.dev ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/.demo $(VENV)/.dev: pyproject.toml constraints.txt
	@tools/install.sh "$(PYTHON)" "$(VENV)" "$(@F:.%=%)"
	@touch $@

clean: ## remove what the other commands have made
	rm -rf $(VENV) demo-run runs .mypy_cache .ruff_cache .pytest_cache .hypothesis site
