// BazaarRegistry's events to rows. An update carries the terms in full, so a row is always what the last event said.
import { ponder, type Context, type Event } from "ponder:registry";
import { facilitator, rating, service } from "ponder:schema";
import { zeroHash, type Address, type Hex } from "viem";
import { readCapabilityTag, SERVICE_STATUSES, SERVICE_VISIBILITIES } from "../../sdk/src/bazaar.ts";

/** Of a contract; blocks have events too. */
type Logged = Extract<Event, { log: unknown }>;

type ServiceRow = typeof service.$inferSelect;
type Terms = Event<"BazaarRegistry:ServiceUpdated">["args"]["terms"];

function origin(event: Logged) {
  return { transactionHash: event.transaction.hash, blockNumber: event.block.number, timestamp: event.block.timestamp };
}

/** PostgreSQL holds every character but NUL, and who lists a service may write one. */
const storable = (text: string): string => text.replaceAll("\0", "\uFFFD");

function termsColumns({ payTo, token, offer }: Terms) {
  const { capability, categories, price, schemes, visibility, contentHash, uri } = offer;
  const capabilityTag = readCapabilityTag(capability) ?? null;
  return { payTo, token, capability, capabilityTag, categories, price, schemes, visibility: SERVICE_VISIBILITIES[visibility]!, contentHash, uri: storable(uri) };
}

/** None is never written: a service begins as a draft or later. */
const statusOf = (status: number) => SERVICE_STATUSES[status] as ServiceRow["status"];

ponder.on("BazaarRegistry:ServiceListed", async ({ event, context }) => {
  const { serviceId: id, owner, key: { agent, salt }, terms, status } = event.args;
  await context.db.insert(service).values({
    id, agent, owner, salt, ...termsColumns(terms), status: statusOf(status), version: 1, revision: 1,
    ...{ bond: 0n, unbonding: 0n, bondWithdrawableAt: 0n, ratingCount: 0, ...origin(event), updatedAt: event.block.timestamp },
  });
});

ponder.on("BazaarRegistry:ServiceUpdated", async ({ event, context }) => {
  const { serviceId: id, owner, terms, status, version, revision } = event.args;
  const change = { owner, ...termsColumns(terms), status: statusOf(status), version, revision, updatedAt: event.block.timestamp };
  await context.db.update(service, { id }).set((row) => (row.status === change.status ? change : { ...change, statusBy: null, statusReason: null }));
});

ponder.on("BazaarRegistry:ServiceStatusChanged", async ({ event, context }) => {
  const { serviceId: id, by, status, version, revision, reason } = event.args;
  const statusReason = reason === zeroHash ? null : reason;
  await context.db.update(service, { id }).set({ status: statusOf(status), statusBy: by, statusReason, version, revision, updatedAt: event.block.timestamp });
});

ponder.on("BazaarRegistry:ServiceRated", async ({ event, context }) => {
  const { serviceId, rater, source, payTo, token, amount, score, details } = event.args;
  await context.db.insert(rating).values({
    id: event.id, serviceId, rater, source, payTo, token, amount, score, details: details === zeroHash ? null : details, logIndex: event.log.logIndex, ...origin(event),
  });
  await context.db.update(service, { id: serviceId }).set((row) => ({ ratingCount: row.ratingCount + 1, updatedAt: event.block.timestamp }));
});

/** It follows the rating it speaks of, which is the newest of that source. */
ponder.on("BazaarRegistry:RatingForwarded", async ({ event, context }) => {
  const { source, accepted } = event.args;
  const rated = await ratedJustNow(context, event, source);
  await context.db.update(rating, { id: rated }).set({ forwarded: accepted });
});

async function ratedJustNow(context: Context, event: Logged, source: Hex): Promise<string> {
  const rows = await context.db.sql.query.rating.findMany({ where: (row, { eq, and, lt }) => and(eq(row.source, source), eq(row.transactionHash, event.transaction.hash), lt(row.logIndex, event.log.logIndex)) });
  const [newest] = rows.sort((a, b) => b.logIndex - a.logIndex);
  if (newest === undefined) throw new Error(`a rating of ${source} was passed on before it was made`);
  return newest.id;
}

type Bonded = { bond: bigint; unbonding: bigint; bondWithdrawableAt: bigint };
const paidOut = (total: bigint): Bonded => ({ bond: total, unbonding: 0n, bondWithdrawableAt: 0n });

ponder.on("BazaarRegistry:ServiceBonded", async ({ event, context }) => {
  await context.db.update(service, { id: event.args.serviceId }).set({ bond: event.args.total, updatedAt: event.block.timestamp });
});

ponder.on("BazaarRegistry:ServiceUnbonding", async ({ event, context }) => {
  const { serviceId: id, owner, amount: unbonding, withdrawableAt, revision } = event.args;
  await context.db.update(service, { id }).set({ owner, unbonding, bondWithdrawableAt: BigInt(withdrawableAt), revision, updatedAt: event.block.timestamp });
});

ponder.on("BazaarRegistry:ServiceBondWithdrawn", async ({ event, context }) => {
  const { serviceId: id, total } = event.args;
  await context.db.update(service, { id }).set({ ...paidOut(total), updatedAt: event.block.timestamp });
});

ponder.on("BazaarRegistry:FacilitatorRegistered", async ({ event, context }) => {
  const { facilitator: address, endpoint, contentHash, bond: standing } = event.args;
  const updatedAt = event.block.timestamp;
  const change = { endpoint: storable(endpoint), contentHash, active: true, updatedAt };
  await context.db
    .insert(facilitator)
    .values({ address, ...change, ...paidOut(standing), ...origin(event) })
    // What is on its way out is still there until it is paid out.
    .onConflictDoUpdate((row) => ({ ...change, bond: standing + row.unbonding }));
});

ponder.on("BazaarRegistry:FacilitatorUnbonding", async ({ event, context }) => {
  const { facilitator: address, amount: unbonding, withdrawableAt, active } = event.args;
  await context.db.update(facilitator, { address }).set({ unbonding, bondWithdrawableAt: BigInt(withdrawableAt), active, updatedAt: event.block.timestamp });
});

ponder.on("BazaarRegistry:FacilitatorBondWithdrawn", async ({ event, context }) => {
  const { facilitator: address, total } = event.args;
  await context.db.update(facilitator, { address: address as Address }).set({ ...paidOut(total), updatedAt: event.block.timestamp });
});
