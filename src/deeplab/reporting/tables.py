def print_results(d): print(d)
