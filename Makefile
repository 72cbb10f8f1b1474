# Every target creates the virtual environment and installs its dependencies.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready
# Clients that the tests run. They require torchvision, which has no CPU build here, but the tests use no part that needs it.
WITHOUT_TORCHVISION = timm==1.0.31 torchattacks==3.5.1
# Clients in a folder that only tests/clients/apart.py puts on the path. torchvision is built for CUDA: other packages would
# import it and fail. robustbench brings a package "tests", and needs an old setuptools. The others are its dependencies.
APART = torchvision==0.28.0 robustbench==1.1.1 setuptools==81.0.0 gdown==5.1.0 beautifulsoup4==4.15.0 soupsieve==4.1.3 \
	geotorch==0.4.0 torchdiffeq==0.2.5
MUTMUT = 3.8.1
PIP_AUDIT = 2.10.1

VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' pipeline/__init__.py)

.PHONY: demo test test-full test-faults test-gpu soak mutants fuzz lint docs bench bench-gpu audit release releasable clean

demo: $(READY)  ## the main job on the embedded sample, then its verification
	$(BIN)/python -m pipeline.build --dataset sample --ranks 3,5,10 --components low,high,full --out out/sample
	$(BIN)/python -m pipeline.verify out/sample
	@echo "Look at it: $(BIN)/python -m pipeline.report out/sample"

# The tests start hundreds of processes, so the project's bytecode is cached, also in containers that turn this off.
test test-full test-faults test-gpu: export PYTHONDONTWRITEBYTECODE =

test: $(READY)  ## all tests in their short form, in JOBS processes (default: 3, as tests often wait)
	$(BIN)/python -m pytest -q -n $(or $(JOBS),3) --dist loadgroup --no-loadscope-reorder

test-full: $(READY)  ## the long forms: every lossless image of ../shared, every kill, laws with ten times as many examples
	$(BIN)/python -m pytest -q -s -m full --hypothesis-profile full

test-gpu: $(READY)  ## tests that need a GPU; CuPy must be installed (docs/gpus.md)
	$(BIN)/python -m pytest -q -s -m "gpu and not full" tests/unit/execution/gpus tests/bench/gpu

test-faults: $(READY)  ## kills, full disks, power failures, and where in a build they happened
	$(BIN)/python -m pytest -q -s -m fault tests/faults tests/unit/storage

soak: $(READY)  ## MINUTES of random jobs with random faults; prints the seeds that replay what fails
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),10) $(if $(SEED),--seed $(SEED))

mutants: $(READY)  ## changes the code that locks, records and stores, and lists the changes that no test notices; an hour
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt mutmut==$(MUTMUT)
	$(BIN)/mutmut run
	$(BIN)/mutmut results

fuzz: $(READY)  ## MINUTES of coverage-guided fuzzing for each of PARSERS (default: all)
	$(BIN)/python -m tests.fuzz $(PARSERS) --minutes $(or $(MINUTES),10)

lint: $(READY)  ## style, types, and the layers of the package
	$(BIN)/ruff check pipeline tests bench jobs examples docs
	$(BIN)/ruff format --check pipeline tests bench jobs examples docs
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.docs  ## the documentation as a website in site/; fails on a warning or a broken link
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Open site/index.html. For the search: $(BIN)/python -m http.server --bind 127.0.0.1 --directory site"

bench: $(READY)  ## this pipeline against the baseline, on the same images in one run
	$(BIN)/python -m bench $(ARGS)

bench-gpu: $(READY)  ## measures the decomposition on a GPU, and whole builds with it
	$(BIN)/python -m bench.gpu $(ARGS)

audit: $(READY)  ## known vulnerabilities of the pinned dependencies; asks PyPI's advisory service, so it needs the network
	$(PYTHON) -m venv $(VENV).audit
	$(VENV).audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit==$(PIP_AUDIT)
	$(VENV).audit/bin/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip

release: releasable $(VENV)/.docs  ## checks everything that a release needs; leaves wheel and sdist in dist/
	$(MAKE) lint
	$(MAKE) docs
	$(MAKE) test
	rm -rf dist
	$(BIN)/python -m build --quiet --no-isolation --outdir dist .
	rm -rf build
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python -m pytest -q -s -m full tests/install
	@echo "dist/ has the wheel and the sdist of $(VERSION). To release: git tag v$(VERSION)"

# Comes before the environment is made, which takes minutes.
releasable:
	@test -z "$$(git status --porcelain)" || { echo "release: git status is not clean: commit or remove what it shows" >&2; exit 1; }
	@grep -qx '## $(VERSION)' CHANGELOG.md || { echo "release: CHANGELOG.md has no heading '## $(VERSION)' (without unreleased)" >&2; exit 1; }

$(READY): pyproject.toml constraints.txt Makefile
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(WITHOUT_TORCHVISION)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(VENV)/apart $(APART)
	touch $(READY)

$(VENV)/.docs: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) $(VENV).audit out build site *.egg-info
