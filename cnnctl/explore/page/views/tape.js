// Reverse mode on single numbers: the computation of one value is written on a tape and read backwards.
// A. Griewank and A. Walther 2008, "Evaluating Derivatives", chapter 3.

/**
 * Operations in the order of their computation. Each node is { kind, label, value, adjoint, inputs: [{ node, derivative }] }:
 * the derivative is that of the node's value by the input's.
 */
export class Tape {
  constructor() {
    this.nodes = [];
  }

  #write(kind, label, value, inputs) {
    const node = { kind, label, value, inputs, adjoint: 0, number: this.nodes.length };
    this.nodes.push(node);
    return node;
  }

  /** Write a value that is not computed: an input, a weight, or the sum of terms that are not shown. */
  leaf(kind, label, value) {
    return this.#write(kind, label, value, []);
  }

  /** Write a product. */
  multiply(a, b, label = "×") {
    return this.#write("operation", label, a.value * b.value, [
      { node: a, derivative: b.value },
      { node: b, derivative: a.value },
    ]);
  }

  /** Write a sum. */
  sum(nodes, label = "Σ") {
    const value = nodes.reduce((total, node) => total + node.value, 0);
    return this.#write(
      "operation",
      label,
      value,
      nodes.map((node) => ({ node, derivative: 1 })),
    );
  }

  /** Write a difference. */
  subtract(a, b, label = "−") {
    return this.#write("operation", label, a.value - b.value, [
      { node: a, derivative: 1 },
      { node: b, derivative: -1 },
    ]);
  }

  /** Write a quotient. */
  divide(a, b, label = "÷") {
    const value = a.value / b.value;
    return this.#write("operation", label, value, [
      { node: a, derivative: 1 / b.value },
      { node: b, derivative: -value / b.value },
    ]);
  }

  /** Write a function of one node: its value and derivative are given. */
  apply(label, node, value, derivative) {
    return this.#write("operation", label, value, [{ node, derivative }]);
  }

  /** Write the largest of nodes, `winner`: it alone has a derivative. */
  chosen(nodes, winner, label = "max") {
    return this.#write(
      "operation",
      label,
      winner.value,
      nodes.map((node) => ({ node, derivative: node === winner ? 1 : 0 })),
    );
  }

  /** Compute the adjoint of every node: the derivative of the target by its value, where that by `output` is `seed`. */
  backward(output, seed = 1) {
    for (const node of this.nodes) node.adjoint = 0;
    output.adjoint = seed;
    for (let place = this.nodes.length - 1; place >= 0; place -= 1) {
      const node = this.nodes[place];
      for (const { node: input, derivative } of node.inputs) input.adjoint += node.adjoint * derivative;
    }
  }
}
