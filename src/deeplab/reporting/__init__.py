"""What a person looks at: tables, pictures, prediction files."""
