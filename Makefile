# `make demo` and `make test` are all it takes: each sets up what is missing first.

PYTHON ?= python3
CLOUD ?=
VENV := .venv
BIN := $(VENV)/bin

# A sourced ROS 2 installation stays out of the environment, which brings its own.
unexport AMENT_PREFIX_PATH CMAKE_PREFIX_PATH LD_LIBRARY_PATH PYTHONPATH ROS_DISTRO RMW_IMPLEMENTATION

# Without an NVIDIA driver the CPU build of torch will do, a tenth of the size.
TORCH_INDEX := $(if $(wildcard /proc/driver/nvidia/version),,\
	--extra-index-url https://download.pytorch.org/whl/cpu --retries 1)

.PHONY: help setup demo test lint platforms bench wheels gpu clean

help:
	@echo "make demo [CLOUD=path]  grasps for a mug, or for your mesh or cloud file, in demo_out/"
	@echo "make test               all tests"
	@echo "make lint               ruff, check and format"
	@echo "make platforms          set-up, demo and some tests on every Python there is, as a table"
	@echo "make bench              all benchmarks"
	@echo "make gpu                times and agreement on a CUDA machine with torch, in 8 minutes"
	@echo "make wheels             what make gpu lacks on a machine without a network, in wheels/"
	@echo "make setup              only make $(VENV) ready"
	@echo "make clean              remove $(VENV) and everything built"

setup: $(VENV)/.packages $(VENV)/.interfaces

demo: setup
	@$(BIN)/grasp_demo --cloud "$(CLOUD)" --out demo_out

test: setup
	$(BIN)/pytest -n 2 --dist loadfile

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check

platforms:
	.ci/platforms

bench: setup
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit; done

# For a machine that has torch and the large libraries, but no network: what else `make gpu` needs,
# for that machine's Python. Not in a virtual environment, as one that is made by the Python of
# another one doesn't see that one's packages.
CARRIED := diffusers|manifold3d|smplx|trimesh
WHEELS_PYTHON ?= 3.12
OUT ?= docs/results

wheels:
	grep -E "^($(CARRIED))==" requirements.txt | $(PYTHON) -m pip download --no-deps --dest wheels \
	    --only-binary=:all: --python-version $(WHEELS_PYTHON) --platform manylinux_2_28_x86_64 \
	    --platform manylinux2014_x86_64 --requirement /dev/stdin

gpu:
	@mkdir -p .gpu
	$(if $(wildcard wheels/*.whl),$(PYTHON) -m pip install --quiet --no-index --no-deps --upgrade \
	    --target .gpu wheels/*.whl)
	@ln -sfn ../training .gpu/grasp_gen_training
	PYTHONPATH=$(CURDIR):$(CURDIR)/.gpu $(PYTHON) benchmarks/gpu.py --out $(OUT)/gpu.json

clean:
	rm -rf $(VENV) .gpu wheels .setup build install log demo_out *.egg-info

# Each step leaves a stamp when it is done, and runs again when what it was made from changes.
STEP := @.ci/step $(VENV)
PIP := $(BIN)/python -m pip install --no-input

$(VENV)/.python: .ci/system-packages
	@echo "Setting up $(VENV): 3 to 5 minutes on a fast line, 3.5 GB of disk (with an NVIDIA driver,"
	@echo "or where the CPU build of torch can't be had, 7 GB); on Python 3.12 and newer 6 minutes more."
	@.ci/system-packages $(PYTHON)
	$(STEP) "a virtual environment of $$($(PYTHON) --version)" $(PYTHON) -m venv $(VENV)
	$(STEP) "pip, a new one: older ones search long for versions that fit each other" $(PIP) pip==26.3
	@touch $@

$(VENV)/.requirements: requirements.txt requirements-ros.txt requirements-dev.txt $(VENV)/.python
	$(STEP) "torch: 0.2 GB to load for the CPU, 2.5 GB for CUDA" \
	    $(PIP) --no-deps $(TORCH_INDEX) "$$(grep ^torch requirements.txt)"
	@grep -v ^pybullet requirements.txt >$(VENV)/.pins.txt
	$(STEP) "the libraries of requirements*.txt, ROS 2 among them: 1 GB to load" \
	    $(PIP) -r $(VENV)/.pins.txt -r requirements-ros.txt -r requirements-dev.txt
	@touch $@

# Bullet has no wheel for Python 3.12 and later: pip compiles it. Without it all else works.
$(VENV)/.bullet: requirements.txt $(VENV)/.requirements
	$(STEP) "Bullet, for the displacement test; compiled on Python 3.12 and newer: 6 minutes on 2 cores" \
	    $(PIP) "$$(grep ^pybullet requirements.txt)" \
	    || echo "warning: without Bullet the displacement test doesn't run, all else does"
	@touch $@

$(VENV)/.packages: setup.py pyproject.toml $(VENV)/.requirements $(VENV)/.bullet
	$(STEP) "the packages of this folder" $(PIP) --no-deps --editable .
	@touch $@

# The wheels' CMake files name the interpreter that they were built with: they get this one's name.
$(VENV)/.wheels: $(VENV)/.requirements
	@include=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))'); \
	modules=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	grep -rl --include='*.cmake' /opt/python/ $(VENV)/share | xargs -r sed -i -E \
	    -e "s#/opt/python/[^;\" ]*/include/python3\.[0-9]+#$$include#g" \
	    -e "s#/opt/python/[^;\" ]*/site-packages#$$modules#g"
	@touch $@

INTERFACES := CMakeLists.txt package.xml \
	$(wildcard msg/* srv/* action/* launch/* config/*)

$(VENV)/.interfaces: $(INTERFACES) $(VENV)/.wheels
	$(STEP) "the ROS messages, services and actions, built and installed" sh -c ' \
	    cmake -S . -B .setup -DCMAKE_INSTALL_PREFIX=$(abspath $(VENV)) \
	        -DCMAKE_PREFIX_PATH=$(abspath $(VENV)) -DPython3_EXECUTABLE=$(abspath $(BIN))/python \
	        -DBUILD_TESTING=OFF -DEDITABLE=ON \
	    && cmake --build .setup --parallel $$(nproc) && cmake --install .setup'
	@touch $@
