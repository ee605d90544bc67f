// Where value goes round: counterparties that pay each other in a circle. Pure.

/** The strongly connected component of each node, by a number; nodes without a circle are alone in theirs. (Tarjan, without recursion.) */
export function circlesOf(edges: ReadonlyMap<string, Iterable<string>>): Map<string, number> {
  const order = new Map<string, number>();
  const low = new Map<string, number>();
  const component = new Map<string, number>();
  const open: string[] = [];
  let components = 0;
  for (const start of edges.keys()) {
    if (order.has(start)) continue;
    const path: { node: string; next: Iterator<string> }[] = [];
    const enter = (node: string) => {
      order.set(node, order.size);
      low.set(node, order.get(node)!);
      open.push(node);
      path.push({ node, next: (edges.get(node) ?? [])[Symbol.iterator]() });
    };
    enter(start);
    while (path.length > 0) {
      const { node, next } = path.at(-1)!;
      const step = next.next();
      if (step.done !== true) {
        if (!order.has(step.value)) enter(step.value);
        else if (!component.has(step.value)) low.set(node, Math.min(low.get(node)!, order.get(step.value)!));
        continue;
      }
      path.pop();
      const above = path.at(-1);
      if (above !== undefined) low.set(above.node, Math.min(low.get(above.node)!, low.get(node)!));
      if (low.get(node) !== order.get(node)) continue;
      for (let member = open.pop()!; ; member = open.pop()!) {
        component.set(member, components);
        if (member === node) break;
      }
      components += 1;
    }
  }
  return component;
}
