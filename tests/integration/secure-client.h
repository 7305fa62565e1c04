#pragma once

/* The exit code of secure-client where the kernel did not give it more rights than its caller has. */
enum { NOT_SECURE = 77 };
