"""What training needs beside the loop: several devices, TensorBoard."""
