#pragma once

/* The exit code where the kernel did not give it more rights than its caller has. */
enum { NOT_SECURE = 77 };
