"""The `condseg` command: parsing and printing."""
