# The documentation as a site.

MDBOOK_VERSION := 0.5.4
MDBOOK := target/tools/bin/mdbook

.PHONY: site

$(MDBOOK):
	@echo 'Installing mdbook $(MDBOOK_VERSION) into target/tools (only once).'
	cargo install mdbook --version $(MDBOOK_VERSION) --locked --no-default-features --features search --root target/tools

# Links to files outside of docs/ lead to the repository.
site: setup $(MDBOOK)
	rm -rf target/site-source && cp -r docs target/site-source
	sed -i -E 's#\]\(\.\./(examples|clients|proto|bench|SECURITY)#](https://github.com/longrun/longrun/blob/main/\1#g' \
	  target/site-source/*.md
	$(MDBOOK) build target/site-source --dest-dir $(CURDIR)/target/site
	@echo 'The site is ready: open target/site/index.html'
