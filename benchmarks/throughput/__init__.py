"""What `make bench` measures: rows a second, CPU and memory, against scripts that people would write themselves."""
