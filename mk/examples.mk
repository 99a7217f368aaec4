# Renews the evidence under examples/evidence/, which is about longrun itself:
#
#   make examples-sbom    longrun.cdx.json    CycloneDX 1.5, by cargo-cyclonedx
#   make examples-sarif   longrun.sarif.json  clippy's findings, by clippy-sarif
#   make examples-junit   longrun.junit.xml   the test report, by cargo-nextest
#   make examples         all three
#
# The same sources give the same bytes on every machine: no path of the machine, a fixed order, the date of the last
# change of Cargo.lock instead of the current date, no durations. A missing tool is built into target/tools.

EXAMPLES_DIR := examples/evidence
EXAMPLES_TOOLS := target/tools
# The packages that the reports are about, as options of cargo.
EXAMPLES_SCOPE ?= --workspace
# The target triple that the SBOM describes; fixed, since dependencies differ by platform.
EXAMPLES_TARGET ?= x86_64-unknown-linux-gnu

.PHONY: examples examples-sbom examples-sarif examples-junit

examples: examples-sbom examples-sarif examples-junit

examples-sbom examples-sarif examples-junit: export PATH := $(CURDIR)/$(EXAMPLES_TOOLS)/bin:$(PATH)

# $(call need,program,crate,version): builds the program unless it is installed.
define need
@command -v $(1) >/dev/null || cargo install --locked --root $(EXAMPLES_TOOLS) --version $(3) $(2)
endef

# $(call keep,new,kept): puts a renewed file in place, unless it contains a path of this machine.
define keep
@if grep -nF -e '$(CURDIR)' -e "$${CARGO_HOME:-$$HOME/.cargo}" -e "$$HOME/" $(1); then \
	echo '$(1) names a path of this machine (above); $(2) was not changed' >&2; exit 1; fi
@mkdir -p $(EXAMPLES_DIR)
mv $(1) $(2)
endef

# cargo-cyclonedx writes one file next to each manifest of the workspace; only the one of the binary is kept.
examples-sbom:
	$(call need,cargo-cyclonedx,cargo-cyclonedx,0.5.9)
	@mkdir -p target/examples
	epoch=$$(git log -1 --format=%ct -- Cargo.lock 2>/dev/null); \
	SOURCE_DATE_EPOCH=$${SOURCE_DATE_EPOCH:-$${epoch:-$$(date +%s)}} cargo cyclonedx --quiet \
		--manifest-path crates/longrun/Cargo.toml --format json --spec-version 1.5 \
		--target $(EXAMPLES_TARGET) --override-filename longrun-sbom
	sed -e 's|path+file://$(CURDIR)/|path+file:|g' crates/longrun/longrun-sbom.json > target/examples/longrun.cdx.json
	@find crates tests bench examples -name longrun-sbom.json -delete 2>/dev/null; true
	$(call keep,target/examples/longrun.cdx.json,$(EXAMPLES_DIR)/longrun.cdx.json)

# Cargo reports crates as they are done, one JSON object per line, in an order that varies: sorting makes it fixed.
examples-sarif:
	$(call need,clippy-sarif,clippy-sarif,0.8.0)
	@mkdir -p target/examples
	cargo clippy --quiet $(EXAMPLES_SCOPE) --all-targets --message-format=json > target/examples/clippy.jsonl
	LC_ALL=C sort target/examples/clippy.jsonl | clippy-sarif > target/examples/longrun.sarif.json
	$(call keep,target/examples/longrun.sarif.json,$(EXAMPLES_DIR)/longrun.sarif.json)

# One test at a time keeps the report in the order of the tests' names. Times, durations and the identifier of the run
# differ from run to run, so these attributes, all optional in JUnit, are left out. nextest writes its report below
# target/ even if CARGO_TARGET_DIR names another folder.
examples-junit:
	$(call need,cargo-nextest,cargo-nextest,0.9.143)
	@mkdir -p target/examples
	cargo nextest run --profile ci --test-threads 1 $(EXAMPLES_SCOPE)
	sed -E -e 's/ (timestamp|time|uuid)="[^"]*"//g' target/nextest/ci/junit.xml \
		> target/examples/longrun.junit.xml
	$(call keep,target/examples/longrun.junit.xml,$(EXAMPLES_DIR)/longrun.junit.xml)
