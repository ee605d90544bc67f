// What a receiver decides of its payouts. The settlement worker moves the money (settlement/payout.ts); claims never wait for a schedule.
import type { Static } from "typebox";
import type { Address } from "viem";
import { sessionChannelsAbi as abi } from "../../../../sdk/src/abi/session-channels.ts";
import { agreed } from "../../chain/client.ts";
import type { Deps } from "../../deps.ts";
import { EVENT } from "../../telemetry/log.ts";
import { readSchedule, type Schedule } from "./logic.ts";
import type { PayoutsView, RequestView, WireSchedule } from "./schemas.ts";
import * as store from "./store.ts";

type PayoutDeps = Pick<Deps, "chain" | "config" | "db" | "log">;

const SHOWN_REQUESTS = 20;

export async function payoutsOf(deps: PayoutDeps, receiver: Address): Promise<Static<typeof PayoutsView>> {
  const payee = { receiver, token: deps.config.token.address };
  const [state] = await store.statesOf(deps.db, [payee]);
  const { claimed, settled } = await chainTotals(deps, payee);
  return {
    ...payee,
    schedule: scheduleView(state!.schedule),
    unclaimedAtomic: (await store.unclaimedOf(deps.db, payee)).toString(),
    owedAtomic: (claimed - settled).toString(),
    paidOutAtomic: settled.toString(),
    requests: (await store.listRequests(deps.db, payee, SHOWN_REQUESTS)).map(requestView),
  };
}

/** What the contract claimed for a receiver and paid to it; atomic units. @throws TallystickError 503 `chain_unavailable`. */
export async function chainTotals({ chain, config }: Pick<PayoutDeps, "chain" | "config">, { receiver, token }: store.PayeeKey): Promise<{ claimed: bigint; settled: bigint }> {
  const [claimed, settled] = await agreed(chain, (client) => client.readContract({ address: config.sessionChannels, abi, functionName: "receivers", args: [receiver, token] }));
  return { claimed, settled };
}

/** @throws TallystickError 400 `schedule_malformed`. */
export async function schedulePayouts(deps: PayoutDeps, receiver: Address, wire: WireSchedule): Promise<void> {
  await store.setSchedule(deps.db, { receiver, token: deps.config.token.address }, readSchedule(wire));
}

/** Asks for everything that is claimed. While a request is open, and with the same key, it is the same request. */
export async function askPayout({ config, db, log }: PayoutDeps, receiver: Address, key: string | undefined): Promise<Static<typeof RequestView>> {
  const payee = { receiver, token: config.token.address };
  await store.ensurePayee(db, payee);
  const asked = await store.askOnce(db, payee, key);
  log.info({ event: EVENT.payoutAsked, receiver, requestId: asked.requestId }, "payout asked for");
  return requestView(asked);
}

function scheduleView(schedule: Schedule): Static<typeof PayoutsView>["schedule"] {
  if (schedule.kind === "threshold") return { kind: schedule.kind, thresholdAtomic: schedule.threshold.toString() };
  return { ...schedule };
}

function requestView({ requestId, askedAt, doneAt, amount }: store.PayoutRequest): Static<typeof RequestView> {
  return {
    requestId, state: doneAt === undefined ? "open" : "done", askedAt: askedAt.toISOString(),
    ...(doneAt === undefined ? {} : { doneAt: doneAt.toISOString() }),
    ...(amount === undefined ? {} : { amountAtomic: amount.toString() }),
  };
}
