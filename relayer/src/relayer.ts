// Puts the relayer together: one place that knows every part and the order they start and stop in. main and tests use it.
import type { FastifyInstance } from "fastify";
import { sessionChannelsDomain } from "../../sdk/src/typed-data.ts";
import { buildApp } from "./app.ts";
import { sweepAccess } from "./capabilities/access/service.ts";
import { anchorSeals } from "./capabilities/audit/anchoring.ts";
import { recoverApprovals } from "./capabilities/audit/recovery.ts";
import { createAudit } from "./capabilities/audit/writer.ts";
import { createExact } from "./capabilities/exact/exact.ts";
import { sweepAnswerUsage } from "./capabilities/answers/service.ts";
import { createFollower } from "./capabilities/channels/follower.ts";
import { createKnownChannels } from "./capabilities/channels/known.ts";
import { createCards } from "./capabilities/discovery/cards.ts";
import { fetchDocuments } from "./capabilities/discovery/documents.ts";
import { probeServices } from "./capabilities/discovery/prober.ts";
import { syncDiscovery } from "./capabilities/discovery/sync.ts";
import { sweepEvents } from "./capabilities/events/service.ts";
import { applyTerms } from "./capabilities/fees/booking.ts";
import { sweepFees } from "./capabilities/fees/sweep.ts";
import { createPolicies } from "./capabilities/firewall/policies.ts";
import { sweepActions } from "./capabilities/firewall/check.ts";
import { createListingFollower } from "./capabilities/agents/follower.ts";
import { createListingViews } from "./capabilities/agents/views.ts";
import { createCatalog } from "./capabilities/gateway/catalog.ts";
import type { Handlers } from "./capabilities/gateway/handler.ts";
import { settleWithheld } from "./capabilities/gateway/exact-rail.ts";
import type { GatewayDeps } from "./capabilities/gateway/rail.ts";
import { configureServices } from "./capabilities/gateway/service.ts";
import { createJobFollower } from "./capabilities/jobs/follower.ts";
import { createJobWatch, sweepJobs } from "./capabilities/jobs/watch.ts";
import { createLedgerGroups, type LedgerGroups } from "./capabilities/ledger/groups.ts";
import { sweep } from "./capabilities/ledger/service.ts";
import { openGuard, sweepGuardAnswers } from "./capabilities/guard/service.ts";
import { createMandateCache } from "./capabilities/mandates/cache.ts";
import { sweepBudgets } from "./capabilities/mandates/sweep.ts";
import { createMandateFollower } from "./capabilities/mandates/follower.ts";
import { createSettlementWorker } from "./capabilities/settlement/service.ts";
import { followSettled } from "./capabilities/statements/settled.ts";
import { sweepStreams } from "./capabilities/streams/service.ts";
import { sweepTransfers } from "./capabilities/transfers/service.ts";
import { deliverWebhooks, sweepDeliveries } from "./capabilities/webhooks/service.ts";
import { openChain } from "./chain/client.ts";
import { checkContracts } from "./chain/contracts.ts";
import { keyringFromPrivateKeys } from "./chain/keyring.ts";
import { createSubmitter } from "./chain/submitter.ts";
import { signerOf } from "./chain/transaction-signer.ts";
import type { Reached } from "./commit-points.ts";
import type { Config } from "./config.ts";
import { FALLBACKS } from "./crypto/fallbacks.ts";
import { createVault } from "./crypto/vault.ts";
import { createHasher } from "./crypto/voucher.ts";
import { createContinuity, type Continuity } from "./db/continuity.ts";
import { migrate } from "./db/migrate.ts";
import { openPool } from "./db/pool.ts";
import { createOutbound } from "./http/outbound.ts";
import { createSweeper } from "./sweeper.ts";
import { EVENT, type Log } from "./telemetry/log.ts";
import { createMetrics } from "./telemetry/metrics.ts";

export type Relayer = {
  app: FastifyInstance;
  deps: GatewayDeps;
  settlement: ReturnType<typeof createSettlementWorker>;
  /** Listens and starts the background work. @returns the address buyers can use. */
  start(): Promise<string>;
  /** Finishes what is in flight, then lets go of everything. */
  stop(): Promise<void>;
};

export type RelayerOptions = {
  /** Services that are functions of this process instead of upstreams, by name; each is listed in the configuration too. */
  handlers?: Handlers;
  reached?: Reached;
};

/** Whoever answers for a charge remembers it, so that a database which loses it is caught. */
function remembering(groups: LedgerGroups, continuity: Continuity): LedgerGroups {
  return {
    ...groups,
    async charge(item) {
      const charged = await groups.charge(item);
      if (charged !== undefined) continuity.charged(item.paymentId);
      return charged;
    },
  };
}

/** @throws TallystickError when the database or the chain is not what the configuration says. */
export async function createRelayer(config: Config, log: Log, { handlers = new Map(), reached = () => {} }: RelayerOptions = {}): Promise<Relayer> {
  const db = openPool(config.databaseUrl);
  const metrics = createMetrics();
  const chain = openChain(config.rpcUrls, config.chainId);
  const hasher = createHasher(sessionChannelsDomain(config.chainId, config.sessionChannels));
  const parts = { config, db, chain, log, metrics, reached, now: () => new Date() };
  const continuity = createContinuity(parts);
  const submitter = createSubmitter({ ...parts, signers: config.submitterKeys.map(signerOf) });
  const mandates = createMandateCache(parts);
  const listings = createListingViews(parts);
  const keyring = keyringFromPrivateKeys(config.receiverAuthorizerKeys);
  const audit = createAudit({ ...parts, keyring });
  const deps: GatewayDeps = {
    ...parts,
    keyring,
    submitter,
    audit,
    groups: remembering(createLedgerGroups(parts), continuity),
    vault: createVault(config.answerKeys),
    outbound: createOutbound({ allowPrivate: config.outboundAllowPrivate }),
    hasher,
    exact: createExact({ ...parts, submitter }),
    handlers,
    knownChannels: createKnownChannels(),
    catalog: createCatalog(db),
    mandates,
    policies: createPolicies(parts),
    listings,
    cards: createCards(parts, listings),
    chainReadAt: () => follower.lastReadAt(),
  };
  const follower = createFollower(deps);
  metrics.nativeSignatures.set(FALLBACKS.length === 0 ? 1 : 0);
  for (const fallback of FALLBACKS) log.warn({ event: EVENT.started }, fallback);
  const applied = await migrate(db);
  if (applied.length > 0) log.info({ event: EVENT.started, applied }, "migrations applied");
  await checkContracts(deps);
  await configureServices(deps);
  await applyTerms(deps);
  const app = await buildApp(deps, await openGuard(deps));
  const settlement = createSettlementWorker(deps);
  const jobWatch = createJobWatch(deps);
  const followers = createSweeper({ mandates: createMandateFollower(deps), listings: createListingFollower(deps), jobs: createJobFollower(deps), deadlines: jobWatch.pass, webhooks: () => deliverWebhooks(deps) }, config.chainPollMs, log);
  const sweeps = { payments: sweep, streams: sweepStreams, withheld: settleWithheld, access: sweepAccess, events: sweepEvents, transfers: sweepTransfers, answers: sweepAnswerUsage, fees: sweepFees, settled: followSettled, budgets: sweepBudgets, guard: sweepGuardAnswers, audit: (all: GatewayDeps) => recoverApprovals(all), anchor: anchorSeals, actions: sweepActions, discovery: syncDiscovery, documents: fetchDocuments, probes: probeServices, jobDrafts: sweepJobs, deliveries: sweepDeliveries };
  const sweeper = createSweeper(Object.fromEntries(Object.entries(sweeps).map(([name, once]) => [name, () => once(deps)])), config.sweepMs, log);
  return {
    app,
    deps,
    settlement,
    async start() {
      await continuity.start();
      await deps.policies.start();
      audit.start();
      await submitter.start();
      await follower.start();
      await mandates.start();
      await listings.start();
      if (config.role !== "server") followers.start();
      if (config.role !== "server") await settlement.start();
      if (config.role !== "server") sweeper.start();
      const address = await app.listen({ host: config.host, port: config.port });
      log.info({ event: EVENT.started, role: config.role, address, network: config.network, mode: config.settlementMode }, "relayer listens");
      return address;
    },
    async stop() {
      await app.close();
      await sweeper.stop();
      await settlement.stop();
      await followers.stop();
      await jobWatch.idle();
      await mandates.stop();
      await listings.stop();
      await follower.stop();
      await submitter.stop();
      await audit.stop();
      await deps.outbound.close();
      await deps.policies.stop();
      await continuity.stop();
      await db.end();
    },
  };
}
