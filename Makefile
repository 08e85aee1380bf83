# One entry for people and for CI; what each target does is in its script or its CMake preset.
# Packages: cmake/debian-packages.txt. Everything built lands in build/, everything the demo writes in demo/.
SHELL := /bin/bash
JOBS ?= $(shell nproc)
PROGRAM := build/release/bin/m3vit

.DEFAULT_GOAL := help
.PHONY: help deps build demo test bench install format lint clean

help: ## this list
	@awk -F':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps: ## install the packages of cmake/debian-packages.txt that are missing (apt-get)
	@scripts/deps.sh

build: deps ## configure and build everything: build/release/bin/m3vit
	@cmake --preset release -Wno-dev --log-level=WARNING >/dev/null
	@cmake --build --preset release -j $(JOBS)

demo: deps ## train, evaluate, export and run a micro model; ends with demo/index.html and demo/contact_sheet.png
	@cmake --preset release -Wno-dev --log-level=WARNING >/dev/null
	@cmake --build --preset release -j $(JOBS) --target m3vit
	@scripts/demo.sh $(PROGRAM) demo

test: build ## build, then every test, the slow ones too
	@ctest --preset release -j $(JOBS)

bench: build ## run every bench (numbers: docs/benchmarks.md)
	@scripts/bench.sh build/release/bin

PREFIX ?= /usr/local
install: build ## install the program, libm3vit.so, headers and package files under PREFIX
	@cmake --install build/release --prefix $(PREFIX)

format: ## clang-format all C++ files in place
	@scripts/lint.sh format

lint: deps ## clang-format and clang-tidy; changes nothing
	@scripts/lint.sh check

clean: ## remove build/ and demo/
	@rm -rf build demo
