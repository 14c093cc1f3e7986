# Thin over meson. `make demo` and `make test` install what is missing first (Debian, as root).
B ?= build
CC ?= gcc

.PHONY: build check test sim sim-breaks mutants demo bench fuzz lint clean deps
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

# Our device with one defect at a time: the verifier must notice. MUTANTS='cq-*' runs some; the whole set writes docs/mutants.md.
mutants: build
	@tools/mutants.py --doc $(MUTANTS)

bench: build
	@$(B)/src/cmd/ferry bench $(BENCH)

FUZZ_SECONDS ?= 60
fuzz: deps
	@[ -f build-fuzz/build.ninja ] || CC=clang meson setup build-fuzz -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false >/dev/null
	@ninja -C build-fuzz
	@for f in build-fuzz/tests/fuzz_*; do [ -f $$f -a -x $$f ] && mkdir -p $$f.corpus && $$f -max_total_time=$(FUZZ_SECONDS) $$f.corpus || exit 1; done

# What needs no build: the order of the rooms, cppcheck and shellcheck where they are installed.
lint:
	tests/layers.sh .
	@! command -v cppcheck >/dev/null || cppcheck -q -j2 --std=c11 --enable=warning,portability --inline-suppr --error-exitcode=1 \
		--suppress=missingInclude --suppress=autoVariables --suppress=uninitvar --suppress=internalAstError -Isrc src
	@! command -v shellcheck >/dev/null || shellcheck tools/*.sh tests/*.sh .ci/run

clean:
	rm -rf build build-* demo-work
