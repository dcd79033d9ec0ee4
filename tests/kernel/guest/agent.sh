# The agent on the real kernel. One line per check; exit code 1 where one fails.
jetpace --version
