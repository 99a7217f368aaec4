# The clients in other languages: clients/python and clients/typescript.
#
#   make sdks         write the parts of them that are generated from docs/openapi.json
#   make sdks-check   compare these parts with what is committed, check types and formatting, build the packages
#   make sdks-test    run their tests against the real server
#   make document-check   run schemathesis and a generated client against the real server on both stores

SDKS_BIN := $(CURDIR)/target/sdks/python/bin
# Written by `make sdks`.
SDKS_GENERATED := clients/python/src/longrun/wire.py clients/python/src/longrun/_sync.py \
	clients/python/src/longrun/_sync_watch.py clients/typescript/src/wire.ts

.PHONY: sdks sdks-setup sdks-check sdks-test sdks-binary

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
		{ echo "$$file differed from what \`make sdks\` writes and was written again: commit it" >&2; exit 1; }; done
	cd clients/python && ruff check . ../generate.py ../document
	cd clients/python && ruff format --check . ../generate.py ../document
	cd clients/python && mypy
	cd clients/python && python -m hatchling build --directory $(CURDIR)/target/sdks/dist
	cd clients/typescript && npm pack --silent --pack-destination $(CURDIR)/target/sdks/dist

# The binary as `cargo test --workspace` builds it: `cargo build` would choose other features and build half of the
# dependencies again.
sdks-binary:
	cargo test --quiet --locked --workspace --test longrun --no-run

sdks-test: sdks-setup sdks-binary
	cd clients/python && python -m pytest --quiet
	cd clients/typescript && npm test --silent

# Takes some minutes and is not a part of `make test`: tests a server on each store against its OpenAPI document.
DOCUMENT_BIN := $(CURDIR)/target/sdks/document/bin
DOCUMENT_EXAMPLES ?= 50

.PHONY: document-check

document-check: sdks-setup sdks-binary
	cargo build --locked --package testkit --bins
	scripts/python-environment.sh target/sdks/document clients/document/requirements.txt >/dev/null
	PATH=$(DOCUMENT_BIN):$$PATH $(DOCUMENT_BIN)/python clients/document/check.py --examples $(DOCUMENT_EXAMPLES)
	PATH=$(DOCUMENT_BIN):$$PATH target/debug/with-postgres $(DOCUMENT_BIN)/python clients/document/check.py \
		--examples $(DOCUMENT_EXAMPLES) --store
	npm exec --yes --package=openapi-typescript@7.13.0 --package=typescript@5.9.3 -- sh -c \
		'openapi-typescript docs/openapi.json -o target/sdks/api.d.ts && tsc --noEmit --strict target/sdks/api.d.ts'
