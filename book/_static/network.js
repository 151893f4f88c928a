/* The layers of PyTorch that the networks of this book are made of, for one image at a time.

   A tensor is {data, shape}: a Float32Array, and [numbers] or [channels, side, side]; images are square.
   Which layers a network has, and their weights, comes from `aelib/book/explorer.py`. */
"use strict";

window.aelibNetwork = (() => {
  /** The tensor that `aelib.book.explorer.packed` has packed: whole numbers of 16 bits times a scale. */
  function unpack({ shape, scale, numbers }) {
    const text = atob(numbers);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return { shape, data: Float32Array.from(new Int16Array(bytes.buffer), (number) => number * scale) };
  }

  /** Give every channel of `shape` its bias, as the value to add to. */
  function filled(shape, bias) {
    const [, side] = shape, data = new Float32Array(shape[0] * side * side);
    bias.data.forEach((value, channel) => data.fill(value, channel * side * side, (channel + 1) * side * side));
    return { data, shape };
  }

  /** A convolution, or its transpose: add to one of two images what the other one says.

      Both pair the same pixels: pixel (y, x) of the small image meets, through tap (i, j) of the kernel, pixel
      (y·stride + i − padding, x·stride + j − padding) of the large one, where there is such a pixel. A convolution adds
      to the small image, its transpose to the large one. PyTorch keeps the weights of both as
      [channels of the small][channels of the large][i][j]. */
  function convolve(small, large, weight, { stride, padding }, transposed) {
    const [smalls, n] = small.shape, [larges, m] = large.shape, kernel = weight.shape[2];
    const first = (tap) => Math.max(0, Math.ceil((padding - tap) / stride));
    const last = (tap) => Math.min(n - 1, Math.floor((m - 1 + padding - tap) / stride));
    const a = small.data, b = large.data;
    let tap = 0;
    for (let s = 0; s < smalls; s++)
      for (let l = 0; l < larges; l++)
        for (let i = 0; i < kernel; i++)
          for (let j = 0; j < kernel; j++) {
            const w = weight.data[tap++], top = first(i), bottom = last(i), left = first(j), right = last(j);
            for (let y = top; y <= bottom; y++) {
              const row = (s * n + y) * n;
              let at = (l * m + y * stride + i - padding) * m + left * stride + j - padding;
              if (transposed) for (let x = left; x <= right; x++, at += stride) b[at] += w * a[row + x];
              else for (let x = left; x <= right; x++, at += stride) a[row + x] += w * b[at];
            }
          }
  }

  /** A tensor of the same shape, `change` applied to each of its numbers. */
  const each = (change) => ({ data, shape }) => ({ data: data.map(change), shape });

  /** For each type of layer: its description → a function from tensor to tensor. */
  const LAYERS = {
    linear(layer) {
      const weight = unpack(layer.weight), bias = unpack(layer.bias), [outputs, inputs] = weight.shape;
      return ({ data }) => {
        const result = Float32Array.from(bias.data);
        for (let o = 0; o < outputs; o++) {
          let sum = 0;
          for (let i = 0, at = o * inputs; i < inputs; i++, at++) sum += weight.data[at] * data[i];
          result[o] += sum;
        }
        return { data: result, shape: [outputs] };
      };
    },

    convolution(layer) {
      const weight = unpack(layer.weight), bias = unpack(layer.bias);
      return (large) => {
        const side = Math.floor((large.shape[1] + 2 * layer.padding - weight.shape[2]) / layer.stride) + 1;
        const small = filled([weight.shape[0], side, side], bias);
        convolve(small, large, weight, layer, false);
        return small;
      };
    },

    transposed_convolution(layer) {
      const weight = unpack(layer.weight), bias = unpack(layer.bias);
      return (small) => {
        const smallest = (small.shape[1] - 1) * layer.stride - 2 * layer.padding + weight.shape[2];
        const side = smallest + layer.output_padding;
        const large = filled([weight.shape[1], side, side], bias);
        convolve(small, large, weight, layer, true);
        return large;
      };
    },

    /** Mean 0 and variance 1 over the pixels of every channel. */
    instance_norm: ({ epsilon }) => ({ data, shape }) => {
      const result = new Float32Array(data.length), pixels = shape[1] * shape[2];
      for (let start = 0; start < data.length; start += pixels) {
        const channel = data.subarray(start, start + pixels);
        const mean = channel.reduce((sum, value) => sum + value, 0) / pixels;
        const variance = channel.reduce((sum, value) => sum + (value - mean) ** 2, 0) / pixels;
        const scale = 1 / Math.sqrt(variance + epsilon);
        for (let i = 0; i < pixels; i++) result[start + i] = (channel[i] - mean) * scale;
      }
      return { data: result, shape };
    },

    leaky_relu: ({ slope }) => each((value) => (value > 0 ? value : slope * value)),
    sigmoid: () => each((value) => 1 / (1 + Math.exp(-value))),
    unflatten: ({ shape }) => ({ data }) => ({ data, shape }),
  };

  /** A network from the description of its layers: a function from tensor to tensor. */
  function build(descriptions) {
    const layers = descriptions.map((layer) => LAYERS[layer.type](layer));
    return (input) => layers.reduce((tensor, layer) => layer(tensor), input);
  }

  /** A number from the standard normal distribution (Box and Muller). */
  const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());

  /** From the description of a distribution of codes, a box or a mixture of Gaussians: a function that draws one. */
  function sampler({ low, high, units, weights, means, factors }) {
    if (!weights) return () => Float32Array.from({ length: units }, () => low + (high - low) * Math.random());
    const [middle, factor] = [unpack(means).data, unpack(factors).data], size = means.shape[1];
    return () => {
      let component = 0;
      for (let left = Math.random() - weights[0]; left > 0 && component < weights.length - 1;) left -= weights[++component];
      const noise = Float32Array.from({ length: size }, normal);
      return noise.map((_, unit) => {
        const row = (component * size + unit) * size;
        return noise.reduce((sum, value, k) => sum + factor[row + k] * value, middle[component * size + unit]);
      });
    };
  }

  return { build, normal, sampler, unpack };
})();
