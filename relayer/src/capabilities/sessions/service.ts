// A session is a channel as its parties see it: what was put in, what is left, what a call costs, when it ends.
import { isAddressEqual, type Address, type Hex } from "viem";
import { sessionChannelsAbi } from "../../../../sdk/src/abi/session-channels.ts";
import { readChain } from "../../chain/client.ts";
import type { Deps } from "../../deps.ts";
import { findChannel, type Channel } from "../channels/store.ts";
import { historyOf, type History } from "../channels/watch-store.ts";
import { notYours } from "../receipts/service.ts";
import { stateOf, type SessionState } from "./logic.ts";
import { findOpening, findPrice, listChannels } from "./store.ts";

type SessionDeps = Pick<Deps, "db" | "chain" | "config" | "log">;

export type Session = {
  channel: Channel;
  state: SessionState;
  /** Of the service that was bought last over this channel, else of its receiver's cheapest. */
  price: bigint | undefined;
  /** Undefined when somebody else opened it and the chain could not say. */
  creationTx: Hex | undefined;
};

/** What the chain recorded of a session, whoever sent it. */
export type SessionHistory = Session & { history: History[] };

const HISTORY_MOST = 100;

/** @throws TallystickError 404 for a channel that is unknown, or that the caller has no part in. */
export async function sessionFor(deps: SessionDeps, sessionId: Hex, caller: Address): Promise<SessionHistory> {
  const channel = await findChannel(deps.db, sessionId);
  if (channel === undefined || !parties(channel).some((party) => isAddressEqual(party, caller))) throw notYours("session");
  return { ...(await describe(deps, channel)), history: await historyOf(deps.db, sessionId, HISTORY_MOST) };
}

export async function sessionsOf(deps: SessionDeps, caller: Address, limit: number): Promise<Session[]> {
  const ids = await listChannels(deps.db, caller, limit);
  const channels = await Promise.all(ids.map((id) => findChannel(deps.db, id)));
  return Promise.all(channels.filter((channel) => channel !== undefined).map((channel) => describe(deps, channel)));
}

const parties = ({ config }: Channel): Address[] => [config.payer, config.payerAuthorizer, config.receiver];

async function describe(deps: SessionDeps, channel: Channel): Promise<Session> {
  const price = await findPrice(deps.db, channel.channelId, channel.config.receiver);
  return { channel, price, state: stateOf(channel, price ?? 0n), creationTx: await creationTx(deps, channel.channelId) };
}

async function creationTx({ db, chain, config, log }: SessionDeps, channelId: Hex): Promise<Hex | undefined> {
  const ours = await findOpening(db, channelId);
  if (ours !== undefined) return ours;
  try {
    const [created] = await readChain(() => chain.client.getContractEvents({ address: config.sessionChannels, abi: sessionChannelsAbi, eventName: "ChannelCreated", args: { channelId }, fromBlock: 0n }));
    return created?.transactionHash;
  } catch (err) {
    log.debug({ err, channelId }, "the node does not look that far back");
    return undefined;
  }
}
