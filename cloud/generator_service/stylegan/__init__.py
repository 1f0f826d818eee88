"""Files of StyleGAN2-ada, StyleGAN3 and StyleGAN-XL: read, and rebuilt in plain torch."""
