import { expect } from "chai";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import pg from "pg";
import { keccak256 } from "viem";
import { reconcile } from "../../indexer/reconcile/reconcile.ts";
import { SESSION_CHANNELS } from "../../sdk/src/constants.ts";
import { graphql, startIndexedWorld, type IndexedWorld } from "../support/indexer.ts";
import { idOf } from "../support/session.ts";
import { cast, configs, firstHalf, GENESIS_S, prepare, receiptsRoot, secondHalf, USDC } from "./history.ts";

type Rows = { items: Record<string, unknown>[]; totalCount: number; pageInfo: { hasNextPage: boolean; endCursor: string } };

describe("indexer", function () {
  this.timeout(180_000);
  let world: IndexedWorld;
  let indexer: Awaited<ReturnType<IndexedWorld["index"]>>;
  let channels: ReturnType<typeof configs>;
  let people: Record<keyof ReturnType<typeof cast>, string>;
  let secondToken: string;
  const usdc = USDC.toLowerCase();
  const ask = <T>(query: string, variables?: Record<string, unknown>) => graphql<T>(indexer, query, variables);
  const check = (graphqlUrl = indexer.graphqlUrl) => reconcile({ rpcUrl: world.chain.url, graphqlUrl, address: SESSION_CHANNELS, fromBlock: 0n });

  before(async () => {
    world = await startIndexedWorld({ genesisTimeS: GENESIS_S });
    const { chain, sessions } = world;
    const token = await prepare(chain, sessions);
    secondToken = token.toLowerCase();
    channels = configs(chain, token);
    people = Object.fromEntries(Object.entries(cast(chain)).map(([name, { address }]) => [name, address.toLowerCase()])) as typeof people;
    // The second half happens while the indexer starts, so that some blocks are backfilled and some are followed.
    await firstHalf(chain, sessions, token);
    [indexer] = await Promise.all([world.index(), secondHalf(chain, sessions, token)]);
    await indexer.waitForBlock(await chain.client.getBlockNumber());
  });
  after(() => world.stop());

  it("agrees with the replayed logs and the contract, row by row", async () => {
    const { ok, differences, totals, logs } = await check();
    expect(differences).to.deep.equal([]);
    expect(ok).to.equal(true);
    expect(logs).to.be.greaterThan(30);
    const inUsdc = totals.find(({ token }) => token === usdc)!;
    expect(inUsdc.deposited).to.equal(1_000_000n + 500_000n + 2_000_000n + 300n + 1_000n + 70n + 5n + 8n);
    expect(inUsdc.claimed).to.equal(250_000n + 30n + 200n + 10n + 70n);
    expect(inUsdc.settled).to.equal(inUsdc.claimed);
    expect(inUsdc.refunded).to.equal(200_000n + 100n + 5n);
    expect(inUsdc.withdrawn).to.equal(300_000n + 8n);
    expect(inUsdc.held).to.equal(inUsdc.deposited - inUsdc.refunded - inUsdc.withdrawn - inUsdc.settled);
    expect(inUsdc.contractBalance).to.equal(inUsdc.held);
    expect(totals.find(({ token }) => token === secondToken)).to.include({ deposited: 4_000n, claimed: 4_000n, settled: 4_000n, held: 0n });
  });

  it("answers the dApp of docs/examples", async () => {
    const { stdout } = await promisify(execFile)(process.execPath, ["docs/examples/dapp.ts", indexer.graphqlUrl, people.rex]);
    expect(stdout).to.match(/^earned 0\.\d{6}, paid out 0\.\d{6} of token 0x/m).and.match(/^channel 0x[0-9a-f]{64} of 0x/m).and.match(/claimed \((plain|packed)\) in 0x[0-9a-f]{64}$/m);
  });

  it("agrees after a start over the whole history, far behind the head", async () => {
    const head = await world.chain.client.getBlockNumber();
    await world.chain.mineBlocks(100);
    const late = await world.index();
    await Promise.all([late.waitForBlock(head + 100n), indexer.waitForBlock(head + 100n)]);
    expect((await check(late.graphqlUrl)).differences).to.deep.equal([]);
    expect((await check()).differences).to.deep.equal([]);
    await late.stop();
  });

  it("goes on where it stopped, after a restart on the same database", async () => {
    const { chain, sessions } = world;
    const first = await world.index();
    await first.stop();
    await sessions.deposit(channels.cydRex, cast(chain).cyd, 11n);
    const second = await world.index({ databaseUrl: first.databaseUrl });
    await Promise.all([second.waitForBlock(await chain.client.getBlockNumber()), indexer.waitForBlock(await chain.client.getBlockNumber())]);
    expect((await check(second.graphqlUrl)).differences).to.deep.equal([]);
    await second.stop();
  });

  it("a wrong row, a missing row and a surplus row are told", async () => {
    const client = new pg.Client({ connectionString: indexer.databaseUrl });
    await client.connect();
    const tamper = async (sql: string) => {
      await client.query("BEGIN; SET LOCAL session_replication_role = replica"); // past Ponder's own triggers
      await client.query(sql);
      await client.query("COMMIT");
      return (await check()).differences;
    };
    try {
      await client.query("SET search_path = indexer");
      const id = idOf(channels.adaRex);
      const wrong = await tamper(`UPDATE channel SET balance = balance + 1 WHERE id = '${id}'`);
      expect(wrong.map(({ what }) => what)).to.deep.equal([`channels ${id}.balance`, `channels(${id}).balance`]);
      expect(wrong[0]).to.include({ chain: "1500000", indexed: "1500001" });
      await tamper(`UPDATE channel SET balance = balance - 1 WHERE id = '${id}'`);

      await client.query("CREATE TEMP TABLE kept AS SELECT * FROM settlement");
      const missing = await tamper("DELETE FROM settlement WHERE status = 'failed'");
      expect(missing).to.have.lengthOf(1);
      expect(missing[0]).to.include({ chain: "a row", indexed: null });
      const surplus = await tamper("INSERT INTO settlement SELECT * FROM kept WHERE status = 'failed'; UPDATE settlement SET log_index = 99 WHERE status = 'failed'");
      expect(surplus.map(({ chain, indexed: ours }) => [chain, ours])).to.deep.equal([["a row", null], [null, "a row"]]);
      expect(await tamper("DELETE FROM settlement; INSERT INTO settlement SELECT * FROM kept")).to.deep.equal([]);

      // A root that the chain never carried, wherever it stands; one that is gone; and one that is said to be another's.
      const other = keccak256(receiptsRoot);
      const told = async (sql: string) => (await tamper(sql)).map(({ what, chain, indexed: ours }) => [what.split(" ")[0], what.split(".")[1] ?? null, chain, ours]);
      expect(await told(`UPDATE receipt_root SET root = '${other}' WHERE root = '${receiptsRoot}'`)).to.deep.equal([["receiptRoots", null, "a row", null], ["receiptRoots", null, null, "a row"]]);
      expect(await told(`UPDATE receipt_root SET root = '${receiptsRoot}', receiver = '${people.ada}'`)).to.deep.equal([["receiptRoots", "receiver", people.rex, people.ada]]);
      expect(await told(`UPDATE receipt_root SET receiver = '${people.rex}'; UPDATE packed_group SET receipts_root = '${other}' WHERE receipts_root = '${receiptsRoot}'`)).to.deep.equal([["packedGroups", "receiptsRoot", receiptsRoot, other]]);
      await tamper(`UPDATE packed_group SET receipts_root = '${receiptsRoot}' WHERE receipts_root = '${other}'`);
      const claims = await told(`UPDATE claim SET receipts_root = '${other}' WHERE receipts_root = '${receiptsRoot}'`);
      expect(new Set(claims.map((difference) => difference.join()))).to.deep.equal(new Set([["claims", "receiptsRoot", receiptsRoot, other].join()]));
      expect(await tamper(`UPDATE claim SET receipts_root = '${receiptsRoot}' WHERE receipts_root = '${other}'`)).to.deep.equal([]);
    } finally {
      await client.end();
    }
  });

  describe("rows", () => {
    it("a channel with its totals, parties and relations", async () => {
      const { channel } = await ask<{ channel: Record<string, unknown> }>(
        `query ($id: String!) { channel(id: $id) {
          status balance totalClaimed totalDeposited totalRefunded totalWithdrawn depositCount claimCount payer payerAuthorizer salt withdrawDelay
          payerAccount { deposited spent withdrawn refunded channelsAsPayer channelsAsReceiver }
          receiverAccount { earned settled channelsAsReceiver }
          deposits(orderBy: "logIndex") { totalCount items { amount newBalance sender } }
          claims(orderBy: "totalClaimed") { items { path amount totalClaimed sender } }
          skippedClaims { totalCount }
          withdrawals { items { status requestedAmount pendingAmount paidAmount } }
          pendingWithdrawal { id }
        } }`,
        { id: idOf(channels.bobRex) },
      );
      expect(channel).to.deep.equal({
        status: "open",
        balance: "1500000",
        totalClaimed: "30",
        totalDeposited: "2000000",
        totalRefunded: "200000",
        totalWithdrawn: "300000",
        depositCount: 1,
        claimCount: 2,
        payer: people.bob,
        payerAuthorizer: people.bobKey,
        salt: channels.bobRex.salt,
        withdrawDelay: 900,
        payerAccount: { deposited: "2000083", spent: "100", withdrawn: "300008", refunded: "200005", channelsAsPayer: 3, channelsAsReceiver: 0 },
        receiverAccount: { earned: "250040", settled: "250040", channelsAsReceiver: 3 },
        deposits: { totalCount: 1, items: [{ amount: "2000000", newBalance: "2000000", sender: people.bob }] },
        claims: {
          items: [
            { path: "plain", amount: "1", totalClaimed: "1", sender: people.rex },
            { path: "packed", amount: "29", totalClaimed: "30", sender: people.relayer },
          ],
        },
        skippedClaims: { totalCount: 3 },
        withdrawals: { items: [{ status: "finalized", requestedAmount: "500000", pendingAmount: "0", paidAmount: "300000" }] },
        pendingWithdrawal: null,
      });
    });

    it("a packed group with its claimed and skipped rows, in their order", async () => {
      const { packedGroups } = await ask<{ packedGroups: Rows }>(
        `{ packedGroups(orderBy: "logIndex") { items {
          receiver receiverAuthorizer sender amount rowCount claimedCount receiptsRoot
          claims(orderBy: "rowIndex") { items { rowIndex payer amount receiptsRoot } }
          skippedClaims(orderBy: "rowIndex") { items { rowIndex reason payer channelId } }
        } } }`,
      );
      const skipped = (rowIndex: number, reason: string, payer: string | null, channelId: string) => ({ rowIndex, reason, payer, channelId });
      expect(packedGroups.items).to.deep.equal([
        {
          receiver: people.rex,
          receiverAuthorizer: people.authorizer,
          sender: people.relayer,
          amount: "50029",
          rowCount: 8,
          claimedCount: 2,
          receiptsRoot,
          claims: {
            items: [
              { rowIndex: 0, payer: people.ada, amount: "50000", receiptsRoot },
              { rowIndex: 7, payer: people.bob, amount: "29", receiptsRoot },
            ],
          },
          skippedClaims: {
            items: [
              skipped(1, "NothingNew", people.ada, idOf(channels.adaRex)),
              skipped(2, "ExceedsCeiling", people.bob, idOf(channels.bobRex)),
              skipped(3, "ExceedsBalance", people.bob, idOf(channels.bobRex)),
              skipped(4, "InvalidSignature", people.bob, idOf(channels.bobRex)),
              skipped(5, "ContractSignatureUnsupported", people.cyd, idOf(channels.cydRex)),
              skipped(6, "ExceedsBalance", null, idOf(channels.unknown)),
            ],
          },
        },
        {
          receiver: people.sue,
          receiverAuthorizer: people.authorizer,
          sender: people.relayer,
          amount: "120",
          rowCount: 2,
          claimedCount: 2,
          receiptsRoot: null,
          claims: { items: [{ rowIndex: 0, payer: people.cyd, amount: "50", receiptsRoot: null }, { rowIndex: 1, payer: people.bob, amount: "70", receiptsRoot: null }] },
          skippedClaims: { items: [] },
        },
      ]);
    });

    it("a failed settlement beside the one that followed", async () => {
      const { settlements } = await ask<{ settlements: Rows }>(
        `query ($receiver: String!) { settlements(where: { receiver: $receiver }, orderBy: "blockNumber") { items { status amount sender receiverAccount { settled } } } }`,
        { receiver: people.sue },
      );
      expect(settlements.items).to.deep.equal([
        { status: "failed", amount: "270", sender: people.authorizer, receiverAccount: { settled: "270" } },
        { status: "settled", amount: "270", sender: people.relayer, receiverAccount: { settled: "270" } },
      ]);
    });

    it("withdrawals: cancelled, pending, ended by a refund, finalized", async () => {
      const { withdrawals } = await ask<{ withdrawals: Rows }>(
        `{ withdrawals(orderBy: "blockNumber") { items { status payer requestedAmount pendingAmount paidAmount endTransactionHash channel { pendingWithdrawalId } id } } }`,
      );
      const told = withdrawals.items.map(({ status, payer, requestedAmount, pendingAmount, paidAmount }) => [status, payer, requestedAmount, pendingAmount, paidAmount]);
      expect(told).to.deep.equal([
        ["finalized", people.bob, "500000", "0", "300000"],
        ["cancelled", people.ada, "10000", "0", "0"],
        ["pending", people.ada, "20000", "20000", "0"],
        ["refunded", people.cyd, "40", "0", "0"],
        ["finalized", people.bob, "8", "0", "8"],
      ]);
      const pending = withdrawals.items[2]!;
      expect(pending.endTransactionHash).to.equal(null);
      expect(pending.channel).to.deep.equal({ pendingWithdrawalId: pending.id });
    });

    it("a channel that was closed, funded again and closed is one channel", async () => {
      const { closed } = await ask<{ closed: Rows }>(
        `{ closed: channels(where: { status: closed }) { totalCount items { balance totalDeposited totalRefunded totalWithdrawn depositCount } } }`,
      );
      expect(closed.items).to.deep.equal([{ balance: "0", totalDeposited: "13", totalRefunded: "5", totalWithdrawn: "8", depositCount: 2 }]);
      const { protocolTotal } = await ask<{ protocolTotal: Record<string, unknown> }>(
        `query ($token: String!) { protocolTotal(token: $token) { channelsOpened payers receivers skippedClaims failedSettlements } }`,
        { token: usdc },
      );
      expect(protocolTotal).to.deep.equal({ channelsOpened: 6, payers: 3, receivers: 2, skippedClaims: 6, failedSettlements: 1 });
    });

    it("an account is payer in one token and receiver in another", async () => {
      const { accounts } = await ask<{ accounts: Rows }>(
        `query ($address: String!) { accounts(where: { address: $address }) { items { token deposited spent earned settled channelsAsPayer channelsAsReceiver } } }`,
        { address: people.rex },
      );
      expect(accounts.items).to.have.deep.members([
        { token: usdc, deposited: "0", spent: "0", earned: "250040", settled: "250040", channelsAsPayer: 0, channelsAsReceiver: 3 },
        { token: secondToken, deposited: "4000", spent: "4000", earned: "0", settled: "0", channelsAsPayer: 1, channelsAsReceiver: 0 },
      ]);
    });

    it("daily totals end at midnight UTC and sum up to the protocol's", async () => {
      const columns = "deposited claimed settled refunded withdrawn deposits claims settlements channelsOpened";
      const { dailyTotals, protocolTotal } = await ask<{ dailyTotals: Rows; protocolTotal: Record<string, string> }>(
        `query ($token: String!) {
          dailyTotals(where: { token: $token }, orderBy: "day") { items { day ${columns} } }
          protocolTotal(token: $token) { ${columns} }
        }`,
        { token: usdc },
      );
      const days = dailyTotals.items as Record<string, string>[];
      expect(days.slice(0, 4).map(({ day, deposited, claimed, settled, refunded, withdrawn }) => [day, deposited, claimed, settled, refunded, withdrawn])).to.deep.equal([
        ["2025-12-31", "3501300", "100001", "0", "0", "0"],
        ["2026-01-01", "70", "50110", "0", "0", "0"],
        ["2026-01-02", "0", "100199", "250310", "0", "0"],
        ["2026-01-03", days[3]!.deposited, "0", "0", "200105", "300008"],
      ]);
      for (const column of columns.split(" ")) {
        const sum = days.reduce((total, day) => total + BigInt(day[column]!), 0n);
        expect(sum, column).to.equal(BigInt(protocolTotal[column]!));
      }
    });
  });

  describe("GraphQL", () => {
    it("filters by party, token, amount and time, with AND and OR", async () => {
      const count = async (where: string) => (await ask<{ claims: Rows }>(`{ claims(where: ${where}) { totalCount } }`)).claims.totalCount;
      expect(await count(`{ receiver: "${people.rex}", token: "${usdc}" }`)).to.equal(7);
      expect(await count(`{ payer: "${people.ada}" }`)).to.equal(4);
      expect(await count(`{ token: "${secondToken}" }`)).to.equal(1);
      expect(await count(`{ path: packed }`)).to.equal(4);
      expect(await count(`{ amount_gte: "50000" }`)).to.equal(4);
      expect(await count(`{ amount_gt: "50", amount_lt: "50000" }`)).to.equal(3);
      expect(await count(`{ OR: [{ payer: "${people.cyd}" }, { AND: [{ payer: "${people.bob}" }, { path: plain }] }] }`)).to.equal(5);
      expect(await count(`{ receiver_in: ["${people.sue}", "${people.tim}"] }`)).to.equal(5);
      expect(await count(`{ timestamp_lt: "${GENESIS_S + 86_400}" }`)).to.equal(2);
      expect(await count(`{ receiptsRoot_not: null }`)).to.equal(2);
    });

    it("pages forwards and backwards without losing or repeating a row", async () => {
      const page = async (args: string) =>
        (await ask<{ claims: Rows }>(`{ claims(orderBy: "id", ${args}) { items { id } totalCount pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }`)).claims;
      const all = (await page("limit: 1000")).items.map(({ id }) => id);
      expect(all).to.have.lengthOf(12);
      const seen: unknown[] = [];
      let args = "limit: 5";
      for (;;) {
        const { items, pageInfo, totalCount } = await page(args);
        expect(totalCount).to.equal(12);
        seen.push(...items.map(({ id }) => id));
        if (!pageInfo.hasNextPage) {
          const before = await page(`limit: 5, before: "${(pageInfo as unknown as { startCursor: string }).startCursor}"`);
          expect(before.items.map(({ id }) => id)).to.deep.equal(all.slice(5, 10));
          break;
        }
        args = `limit: 5, after: "${pageInfo.endCursor}"`;
      }
      expect(seen).to.deep.equal(all);
      expect((await page(`limit: 3, offset: 9, orderDirection: "desc"`)).items.map(({ id }) => id)).to.deep.equal(all.slice(0, 3).reverse());
    });

    it("serves its page on GET, and says where it is", async () => {
      const page = await fetch(indexer.graphqlUrl);
      expect(page.headers.get("content-type")).to.include("text/html");
      expect((await fetch(`${indexer.url}/health`)).status).to.equal(200);
      expect((await fetch(`${indexer.url}/ready`)).status).to.equal(200);
      const status = (await (await fetch(`${indexer.url}/status`)).json()) as { base: { id: number } };
      expect(status.base.id).to.equal(84532);
    });
  });

  describe("SQL", () => {
    const sql = async (statement: string, params: unknown[] = []) => {
      const query = JSON.stringify({ json: { sql: statement, params } });
      const response = await fetch(`${indexer.sqlUrl}/db?sql=${encodeURIComponent(query)}`);
      return { status: response.status, body: await response.text() };
    };

    it("answers selects over the tables", async () => {
      const { status, body } = await sql("SELECT count(*)::int AS n, sum(amount)::text AS claimed FROM claim WHERE token = $1", [usdc]);
      expect(status).to.equal(200);
      expect((JSON.parse(body) as { rows: unknown }).rows).to.deep.equal([{ n: 11, claimed: "250310" }]);
    });

    it("refuses to write, to leave its tables and to touch the server", async () => {
      for (const statement of [
        "DELETE FROM claim",
        "UPDATE channel SET balance = 0",
        "DROP TABLE claim",
        "SELECT * FROM ponder_sync.logs",
        "SELECT * FROM pg_authid",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT pg_sleep(1)",
        "SELECT 1; DELETE FROM claim",
      ]) {
        const { status } = await sql(statement);
        expect(status, statement).to.equal(500);
      }
      expect((await check()).differences).to.deep.equal([]);
    });
  });
});
