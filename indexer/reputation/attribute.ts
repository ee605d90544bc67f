// Which service a claim was for. The chain knows receivers alone, and anybody may list a service that names another's receiver. Pure.

export type Listed = { serviceId: string; owner: string; payTo: string; registeredAtS: number };

/**
 * Services by receiver: those of the receiver's own owner, else of whoever listed it first. A latecomer that names a known receiver
 * takes nothing of its standing. Claims for a receiver of several services count for each in equal parts.
 */
export function servicesByReceiver(services: readonly Listed[]): Map<string, string[]> {
  return new Map([...Map.groupBy(services, ({ payTo }) => payTo)].map(([payTo, all]) => {
    const own = all.filter(({ owner }) => owner === payTo);
    const first = all.reduce((least, next) => (next.registeredAtS < least.registeredAtS || (next.registeredAtS === least.registeredAtS && next.serviceId < least.serviceId) ? next : least));
    const chosen = own.length > 0 ? own : all.filter(({ owner }) => owner === first.owner);
    return [payTo, chosen.map(({ serviceId }) => serviceId).sort()];
  }));
}
