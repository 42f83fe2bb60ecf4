"""CT volumes and their axial slices: NIfTI, DICOM and HDF5."""
