"""What people have, a folder of photographs and their tags in some form, made into a table."""
