# Thin over meson. `make demo` and `make test` install what is missing first (Debian, as root).
B ?= build
CC ?= gcc

.PHONY: build check test sim sim-breaks demo bench clean deps
deps:
	@tools/deps.sh

$(B)/build.ninja: deps
	@[ -f $@ ] || CC=$(CC) meson setup $(B) -Db_sanitize=none >/dev/null

# A new test file needs no list, so meson must look again when the set of files changed.
build: $(B)/build.ninja
	@ls tests/*/test_*.c > $(B)/.tests.new 2>/dev/null; \
	cmp -s $(B)/.tests.new $(B)/.tests || { meson setup --reconfigure $(B) >/dev/null && mv $(B)/.tests.new $(B)/.tests; }
	@ninja -C $(B) --quiet | grep -v 'no work to do' || true
	@ninja -C $(B) -n | grep -q 'no work to do'

check: build
	meson test -C $(B) --suite quick --print-errorlogs

test: deps
	@tools/test.sh

# The main job, on this machine: two servers, a guest that writes, a move there and back, everything checked.
demo: build
	@$(B)/src/cmd/ferry demo $(DEMO)

SEEDS ?= 200
sim: build
	@$(B)/tests/ferry-sim --seeds $(SEEDS) --jobs $$(nproc)

# Every design rule broken on purpose, one build each: the simulator must notice.
sim-breaks: deps
	@tools/sim-breaks.sh

clean:
	rm -rf build build-* demo-work
