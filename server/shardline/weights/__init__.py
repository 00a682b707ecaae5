"""Where weights come from: a seam over file formats. Pickled files are refused."""
