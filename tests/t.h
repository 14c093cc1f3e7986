/* TEST(name) { ... }: a case registers itself; the program runs all of them under cmocka (TAP when meson asks).
 * EXPECT_* stop the case with file and line. Run one case: PROGRAM name-part. */
#ifndef FERRY_TESTS_T_H
#define FERRY_TESTS_T_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/bytes.h"

#define T_MAX 512
static struct CMUnitTest t_cases[T_MAX];
static size_t t_count;

#define TEST(fn)                                                                         \
	static void t_##fn(void **state);                                                \
	__attribute__((constructor)) static void t_add_##fn(void)                        \
	{                                                                                \
		t_cases[t_count++] = (struct CMUnitTest){ .name = #fn, .test_func = t_##fn }; \
	}                                                                                \
	static void t_##fn(void **state __attribute__((unused)))

#define EXPECT(c) assert_true(c)
#define EXPECT_EQ(a, b) assert_int_equal((uintmax_t)(a), (uintmax_t)(b))
#define EXPECT_STR(a, b) assert_string_equal(a, b)
#define EXPECT_MEM(a, b, n) assert_memory_equal(a, b, n)

int main(int argc, char **argv)
{
	if (argc > 1) {
		static char pattern[128];

		pattern[0] = '*';
		strncpy(pattern + 1, argv[1], sizeof(pattern) - 3);
		strcat(pattern, "*");
		cmocka_set_test_filter(pattern);
	}
	return _cmocka_run_group_tests(argv[0], t_cases, t_count, NULL, NULL);
}

#endif
