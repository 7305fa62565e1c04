/* The texts of the interfaces that a service hands out. That they agree with the tables is contract.py's part. */

#include "proto/message.h"
#include "tests/support/check.h"

#include <stdio.h>
#include <string.h>

START_TEST(each_interface_has_its_whole_text)
{
        const char *text;

        ck_assert_str_eq(contract_interfaces[0], "org.varlink.service");
        for (size_t i = 0; contract_interfaces[i]; i++) {
                char line[100];

                snprintf(line, sizeof(line), "\ninterface %s\n", contract_interfaces[i]);
                text = contract_description(contract_interfaces[i]);
                ck_assert_ptr_nonnull(text);
                ck_assert_ptr_nonnull(strstr(text, line));
                ck_assert_int_eq(text[0], '#');
                ck_assert_int_eq(text[strlen(text) - 1], '\n');
        }
        text = contract_description("org.regionbroker");
        ck_assert_ptr_nonnull(strstr(text, "\nmethod Open(\n  # its name, or"));
        ck_assert_ptr_nonnull(strstr(text, "\n# [Requires 'more' flag]\nmethod List("));
        ck_assert_ptr_nonnull(strstr(text, "\nerror NameNotAllowed("));
        ck_assert_ptr_null(contract_description("org.example"));
        ck_assert_ptr_null(contract_description(""));
}
END_TEST

/* An interface without rows, or rows of an interface that is not offered, would be a mistake. */
START_TEST(every_method_is_of_an_interface_that_is_described)
{
        for (size_t i = 0; i < n_method_types; i++) {
                const char *dot = strrchr(method_types[i].name, '.');
                char interface[100], declaration[100];

                snprintf(interface, sizeof(interface), "%.*s", (int)(dot - method_types[i].name), method_types[i].name);
                snprintf(declaration, sizeof(declaration), "\nmethod %s(", dot + 1);
                ck_assert_ptr_nonnull(contract_description(interface));
                ck_assert_ptr_nonnull(strstr(contract_description(interface), declaration));
        }
}
END_TEST

int main(void)
{
        Suite *suite = suite_create("contract");
        TCase *contract = check_case(suite, "contract");

        tcase_add_test(contract, each_interface_has_its_whole_text);
        tcase_add_test(contract, every_method_is_of_an_interface_that_is_described);
        return check_run(suite);
}
