// A map that forgets: at most `max` entries, those used lately stay. Two generations instead of a list of uses: when the young
// one is full it becomes the old one, and what is read there moves back. Only for what can be computed again.
export type BoundedCache<K, V> = {
  get(key: K): V | undefined;
  set(key: K, value: V): void;
  /** Entries held now. */
  size(): number;
};

export function createBoundedCache<K, V>(max: number): BoundedCache<K, V> {
  const generation = Math.max(1, Math.floor(max / 2));
  let young = new Map<K, V>();
  let old = new Map<K, V>();
  const set = (key: K, value: V): void => {
    if (young.size >= generation) [old, young] = [young, new Map()];
    young.set(key, value);
  };
  return {
    set,
    size: () => young.size + old.size,
    get(key) {
      const recent = young.get(key);
      if (recent !== undefined) return recent;
      const value = old.get(key);
      if (value === undefined) return undefined;
      old.delete(key);
      set(key, value);
      return value;
    },
  };
}
