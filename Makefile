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

.PHONY: help setup demo test lint bench clean

help:
	@echo "make demo [CLOUD=path]  grasps for a mug, or for your mesh or cloud file, in demo_out/"
	@echo "make test               all tests"
	@echo "make lint               ruff, check and format"
	@echo "make bench              all benchmarks"
	@echo "make setup              only make $(VENV) ready"
	@echo "make clean              remove $(VENV) and everything built"

setup: $(VENV)/.packages $(VENV)/.interfaces

demo: setup
	$(BIN)/grasp_demo --cloud "$(CLOUD)" --out demo_out

test: setup
	$(BIN)/pytest

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check

bench: setup
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit; done

clean:
	rm -rf $(VENV) .setup build install log demo_out *.egg-info

# Each step leaves a stamp when it is done, and runs again when what it was made from changes.
# A new pip first: the one that Debian 12 brings searches long for versions that fit each other.
$(VENV)/.python: .ci/system-packages
	.ci/system-packages $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet pip==26.3
	touch $@

$(VENV)/.requirements: requirements.txt requirements-ros.txt requirements-dev.txt $(VENV)/.python
	$(BIN)/pip install --quiet --no-deps $(TORCH_INDEX) "$$(grep ^torch requirements.txt)"
	grep -v ^pybullet requirements.txt | $(BIN)/pip install --quiet -r /dev/stdin \
	    -r requirements-ros.txt -r requirements-dev.txt
	touch $@

# Bullet has no wheel for Python 3.12 and later: pip compiles it. Without it all else works.
$(VENV)/.bullet: requirements.txt $(VENV)/.requirements
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 12))' \
	    || echo "compiling Bullet for the displacement test: 6 minutes on two free cores, once"
	$(BIN)/pip install --quiet "$$(grep ^pybullet requirements.txt)" \
	    || echo "warning: Bullet couldn't be compiled, the displacement test won't run"
	touch $@

$(VENV)/.packages: setup.py pyproject.toml $(VENV)/.requirements $(VENV)/.bullet
	$(BIN)/pip install --quiet --no-deps --editable .
	touch $@

# The wheels' CMake files name the interpreter that they were built with: they get this one's name.
$(VENV)/.wheels: $(VENV)/.requirements
	include=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))'); \
	modules=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))'); \
	grep -rl --include='*.cmake' /opt/python/ $(VENV)/share | xargs -r sed -i -E \
	    -e "s#/opt/python/[^;\" ]*/include/python3\.[0-9]+#$$include#g" \
	    -e "s#/opt/python/[^;\" ]*/site-packages#$$modules#g"
	touch $@

INTERFACES := CMakeLists.txt package.xml grasp_gen_ros/__init__.py \
	$(wildcard msg/* srv/* action/* launch/* config/*)

$(VENV)/.interfaces: $(INTERFACES) $(VENV)/.wheels
	mkdir -p .setup
	{ cmake -S . -B .setup -DCMAKE_INSTALL_PREFIX=$(abspath $(VENV)) \
	    -DCMAKE_PREFIX_PATH=$(abspath $(VENV)) -DPython3_EXECUTABLE=$(abspath $(BIN))/python \
	    -DBUILD_TESTING=OFF -DEDITABLE=ON \
	  && cmake --build .setup --parallel $$(nproc) && cmake --install .setup; \
	} >.setup/build.log 2>&1 \
	  || { tail -n 40 .setup/build.log; echo "error: the ROS interfaces don't build"; exit 1; }
	touch $@
