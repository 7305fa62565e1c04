#!/usr/bin/env python3
"""One manual page, as scdoc makes it but without hyphenation: nobody finds a name that is broken into re-gion_map.

usage: page.py SCDOC < PAGE.scd > PAGE
"""

import re
import subprocess
import sys

text = subprocess.run(sys.argv[1:], check=True, stdin=sys.stdin, stdout=subprocess.PIPE, text=True).stdout
# scdoc turns it off before .TH, which turns it on again
sys.stdout.write(re.sub(r"^(\.TH .*\n)", r"\1.nh\n", text, count=1, flags=re.M))
