"""Products of a batch that devices share with a kernel that all of them have."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def _gradient(product, total):
    """The kernel's gradient of a total of sin(product(batch, kernel))."""
    return jax.grad(lambda kernel, batch: total(jnp.sin(product(batch, kernel))))


def check_pmap(product, batch, kernel):
    """The mean of the devices' gradients is that of the batch."""
    gradient = _gradient(product, jnp.mean)

    def shared(kernel, batch):
        return jax.lax.pmean(gradient(kernel, batch), "batch")

    shares = batch.reshape(2, len(batch) // 2, *batch.shape[1:])
    found = jax.pmap(shared, "batch", in_axes=(None, 0))(kernel, shares)
    expected = jax.jit(gradient)(kernel, batch)
    np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-6)


def check_shard_map(product, batch, kernel):
    """JAX's own rule with `check_vma`: the gradient is summed over the devices."""
    gradient, everywhere = _gradient(product, jnp.sum), PartitionSpec()
    specs = (everywhere, PartitionSpec("batch"))
    mesh = Mesh(np.array(jax.local_devices()[:2]), "batch")
    shared = jax.shard_map(gradient, mesh=mesh, in_specs=specs, out_specs=everywhere)
    found, expected = (jax.jit(function)(kernel, batch) for function in (shared, gradient))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def check_own_kernels(product, batch, kernel):
    """Each device has a kernel of its own, under `jax.shard_map` with `check_vma`."""
    gradient, sharded = _gradient(product, jnp.sum), PartitionSpec("batch")
    mesh = Mesh(np.array(jax.local_devices()[:2]), "batch")
    shared = jax.shard_map(gradient, mesh=mesh, in_specs=(sharded, sharded), out_specs=sharded)
    kernels, halves = (kernel, 2 * kernel), jnp.split(batch, 2)
    found = jax.jit(shared)(jnp.concatenate(kernels), batch)
    expected = [jax.jit(gradient)(*pair) for pair in zip(kernels, halves, strict=True)]
    np.testing.assert_allclose(found, jnp.concatenate(expected), rtol=1e-5, atol=1e-6)


def check_explicit_mesh(product, batch, kernel):
    """The axes of the mesh are explicit, as `jax.make_mesh` makes them."""
    gradient = jax.jit(_gradient(product, jnp.sum))
    expected = gradient(kernel, batch)
    mesh = Mesh(np.array(jax.local_devices()[:2]), "batch", axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        shares = jax.device_put(batch, NamedSharding(mesh, PartitionSpec("batch")))
        everywhere = jax.device_put(kernel, NamedSharding(mesh, PartitionSpec()))
        found = gradient(everywhere, shares)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


CHECKS = (check_pmap, check_shard_map, check_own_kernels)
