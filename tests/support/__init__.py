"""What the tests share: a scratch world, real repositories, waiting, dropping privileges, finding processes."""
