# The clients in other languages: clients/python and clients/typescript.
#
#   make sdks         write what is generated of them from docs/openapi.json
#   make sdks-check   compare that with what is committed, check types and form, build the packages
#   make sdks-test    their tests against the real server

SDKS_BIN := $(CURDIR)/target/sdks/python/bin
# Written by `make sdks`.
SDKS_GENERATED := clients/python/src/longrun/wire.py clients/python/src/longrun/_sync.py \
	clients/python/src/longrun/_sync_watch.py clients/typescript/src/wire.ts

.PHONY: sdks sdks-setup sdks-check sdks-test

sdks sdks-check sdks-test: export PATH := $(SDKS_BIN):$(PATH)

sdks-setup:
	@scripts/sdks-setup.sh

sdks: sdks-setup
	python clients/generate.py
	python clients/python/unasync.py
	ruff check --quiet --fix-only --select I clients/python/src
	ruff format --quiet $(filter %.py,$(SDKS_GENERATED))

sdks-check: sdks-setup
	@mkdir -p target/sdks/before && cp $(SDKS_GENERATED) target/sdks/before/
	@$(MAKE) --no-print-directory sdks
	@for file in $(SDKS_GENERATED); do cmp "$$file" "target/sdks/before/$$(basename $$file)" || \
		{ echo "$$file was not what \`make sdks\` writes; it is now: commit it" >&2; exit 1; }; done
	cd clients/python && ruff check . ../generate.py
	cd clients/python && ruff format --check . ../generate.py
	cd clients/python && mypy
	cd clients/python && python -m hatchling build --directory $(CURDIR)/target/sdks/dist
	cd clients/typescript && npm pack --silent --pack-destination $(CURDIR)/target/sdks/dist

sdks-test: sdks-setup
	cargo build --locked --package longrun
	cd clients/python && python -m pytest --quiet
	cd clients/typescript && npm test --silent
