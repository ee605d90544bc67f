// What the firewall did, for those whom it concerns: the newest first, or as it happens.
import type { Address } from "viem";
import type { GatewayDeps } from "../gateway/rail.ts";
import { follow } from "../events/service.ts";
import type { Position, StoredEvent as LoggedEvent } from "../events/store.ts";
import { eventsBefore, type StoredEvent } from "./event-store.ts";

const KIND = "firewall.";

export const newest = ({ db }: GatewayDeps, party: Address, before: bigint | undefined, limit: number): Promise<StoredEvent[]> => eventsBefore(db, party, before, limit);

/** The firewall's part of the event log; see capabilities/events. */
export async function* following(deps: GatewayDeps, party: Address, from: Position | undefined, signal: AbortSignal): AsyncGenerator<LoggedEvent[]> {
  for await (const events of follow(deps, party, from, signal)) yield events.filter(({ kind }) => kind.startsWith(KIND));
}
