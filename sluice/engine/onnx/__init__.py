"""int8 on CPUs: export and runtimes."""
