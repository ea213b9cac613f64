# `make help` lists what there is. Everything runs in .venv, which is made on first use.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# As it was typed: make would read a $$ in it. A shell's completion ends it with a slash.
override AREA := $(value AREA)
override FILE := $(value FILE)
override COUNTS := $(value COUNTS)
override COLUMN := $(value COLUMN)
override STUDY := $(value STUDY)
override NOTE := $(value NOTE)
override TORCH := $(value TORCH)
override WHEELHOUSE := $(value WHEELHOUSE)
export AREA FILE COUNTS COLUMN STUDY NOTE TORCH WHEELHOUSE
export PATH := $(CURDIR)/$(BIN):$(PATH)
export PYTHONPATH := $(CURDIR)

.DEFAULT_GOAL := help
.PHONY: help setup asked wheelhouse demo ablation budget trial inference bench bench-large bench-peers bench-audit bench-loop inspect map review embed probe export test lint types docs ui clean requirements

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: $(VENV)/.ready  ## make .venv with every package pinned, and the tracking store: make setup [TORCH=cpu] [WHEELHOUSE=<folder>]

$(BIN)/python:
	@# -I: stages/ holds an inspect.py, which is not that of Python.
	@$(PYTHON) -I stages/_clone.py
	@$(PYTHON) -m venv $(VENV) || { rm -f $@; exit 1; }

$(VENV)/.ready: requirements.txt $(if $(TORCH),asked) | $(BIN)/python
	@$(BIN)/python -I stages/_clone.py
	@$(BIN)/python -I stages/_packages.py install
	@$(BIN)/python -m stages.tracking init
	@touch $@

wheelhouse: | $(BIN)/python  ## fill a folder for machines without a network: make wheelhouse [WHEELHOUSE=<folder>]
	@$(BIN)/python -I stages/_packages.py collect

demo: setup  ## run the whole pipeline on the built-in synthetic areas
	dvc repro
	@python -m stages.tracking sync
	@echo
	@echo "map     data/predict/<area>/probability.tif, data/outline/<area>/landslides.gpkg   ($$(ls data/outline | tr '\n' ' '))"
	@echo "report  reports/report.html: scores on all labelled ground, each block mapped by a network that never saw it"
	@echo "MLflow  'make ui', then http://127.0.0.1:5000 (experiment hpcl)"

ablation: setup  ## measure what each component buys on your areas (hours; says so first), and keep reports/ablation.csv
	python -m stages.ablation
	@python -m stages.tracking sync

budget: setup  ## measure what more landslides in the inventory would bring (hours; says so first), and keep reports/budget.csv
	python -m stages.budget
	@python -m stages.tracking sync

trial: setup  ## train the variants of one study of ablation/params.yaml, and keep its table in docs/ablation.md: make trial STUDY=<name> [NOTE=<words>]
	@python -m stages.trial "$$STUDY" "$$NOTE"
	@python -m stages.tracking sync

inference: setup  ## measure whether TTA or AdaBN pays with the trained model (says first how long), and keep reports/inference.csv
	python -m stages.compare_inference

bench: setup  ## measure speed side by side (about 10 minutes), and keep reports/benchmarks.csv
	python -m benchmarks.training

bench-large: setup  ## the same for scenes of 20,000 x 20,000 pixels (an hour; GDAL's gdaldem beside it, if it is there)
	python -m benchmarks.rasters

bench-peers: setup  ## measure mapping, terrain, co-registration and training beside other libraries (30 minutes; installs them in .bench-peers)
	python -m venv .bench-peers
	uv pip install --quiet --python .bench-peers/bin/python -r benchmarks/peers/requirements.txt
	python -m benchmarks.peers.side_by_side

bench-audit: setup  ## measure what the audit finds of planted errors (hours; says so first; goes on in .bench-planted), and keep docs/audit.md
	python -m benchmarks.planted.audit

bench-loop: setup  ## measure whether answering an audit makes the map better (the same, in .bench-loop)
	python -m benchmarks.planted.loop

inspect: setup  ## look at an area before anything runs, and say which parameters suit it: make inspect AREA=<name> [WRITE=yes]
	@python -m stages.inspect "$${AREA%/}" $(if $(WRITE),--write)

map: setup  ## map an area with the trained model as it is: make map AREA=<name>, its files in data/raw/<name>
	@for stage in ingest coregister terrain passport predict outline; do python -m stages.$$stage "$${AREA%/}" || exit 1; done
	@echo "map: data/outline/$${AREA%/}; 'dvc repro -s report page' shows it in reports/report.html and reports/map.html"

review: setup  ## take a mapper's answers into data/raw/<name>: make review AREA=<name> [FILE=<review.geojson>] [COUNTS=new]
	@python -m stages.review "$${AREA%/}" $${FILE:+"$$FILE"} $${COUNTS:+--counts "$$COUNTS"}

embed: setup  ## write what the networks have learnt of each landslide as columns, and which look alike, into data/embed
	@python -m stages.embed

probe: setup  ## say whether a column of the inventories can be read in that: make probe COLUMN=<name>
	@python -m stages.probe "$$COLUMN"

export: setup  ## write model and maps for other programs into data/export: ONNX, model card, maps, STAC, RO-Crate, hashes
	@python -m stages.export

test: setup  ## run all tests
	OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadgroup

lint: setup  ## style, formatting, and the walls between packages
	ruff check .
	ruff format --check .
	lint-imports --no-logo

types: setup  ## static types
	mypy

docs: setup  ## build the documentation as a site, docs/html/index.html, which needs no network; a broken link is an error
	rm -rf docs/html
	python -m sphinx --quiet --fail-on-warning --keep-going --conf-dir docs/site . docs/html

ui: setup  ## start the MLflow UI on http://127.0.0.1:5000
	python -m stages.tracking ui

requirements: setup  ## compile requirements.txt again from requirements.in
	uv pip compile --quiet --upgrade --universal --fork-strategy fewest --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-header requirements.in -o requirements.txt

clean:  ## remove everything the pipeline wrote and git does not track (the DVC cache and MLflow's store stay)
	git clean -fdxq -- data/{checked,surveyed,ingest,coregister,terrain,tiles,model,baselines,predict,calibrate,outline,audit,explain,illustrate,embed,export} reports/{train,evaluate,audit,figures} reports/{report,map}.html ablation/{results,shares}
