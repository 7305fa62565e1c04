/* The two interface definitions, put into the program when it is built. */

#include "message.h"

#include <string.h>

/* embed.py makes the rows from the .varlink files: the interface, its text */
static const struct {
        const char *interface;
        const char *text;
} contracts[] = {
#include "contract-text.h"
};

const char *const contract_interfaces[] = { "org.varlink.service", "org.regionbroker", NULL };

const char *contract_description(const char *interface)
{
        for (size_t i = 0; i < sizeof(contracts) / sizeof(contracts[0]); i++)
                if (strcmp(contracts[i].interface, interface) == 0)
                        return contracts[i].text;
        return NULL;
}
