// A dApp's view of one provider: what it earned, who pays it, what is still to be claimed. Plain GraphQL, no package.
//   node docs/examples/dapp.ts <graphql url> <provider's receiver address>
const [url, receiver] = process.argv.slice(2);
if (url === undefined || receiver === undefined) throw new Error("usage: dapp.ts <graphql url> <receiver address>");

const QUERY = `query ($receiver: String!) {
  accounts(where: { address: $receiver }) { items { token earned settled channelsAsReceiver } }
  channels(where: { receiver: $receiver }, orderBy: "totalClaimed", orderDirection: "desc", limit: 5) {
    totalCount
    items { id payer balance totalClaimed status pendingWithdrawalId }
  }
  claims(where: { receiver: $receiver }, orderBy: "timestamp", orderDirection: "desc", limit: 3) {
    items { amount path transactionHash timestamp }
  }
}`;

type Page<T> = { items: T[]; totalCount: number };
type Answer = {
  accounts: Page<{ token: string; earned: string; settled: string; channelsAsReceiver: number }>;
  channels: Page<{ id: string; payer: string; balance: string; totalClaimed: string; status: string; pendingWithdrawalId: string | null }>;
  claims: Page<{ amount: string; path: string; transactionHash: string; timestamp: string }>;
};

const response = await fetch(url, {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ query: QUERY, variables: { receiver: receiver.toLowerCase() } }),
});
const { data, errors } = (await response.json()) as { data?: Answer; errors?: { message: string }[] };
if (data === undefined || errors !== undefined) throw new Error(errors?.map(({ message }) => message).join("; ") ?? `GraphQL answered ${response.status}`);

// Amounts are atomic units as decimal strings: use bigint, never a float.
const usdc = (atomic: string) => `${BigInt(atomic) / 1_000_000n}.${(BigInt(atomic) % 1_000_000n).toString().padStart(6, "0")}`;
for (const { token, earned, settled } of data.accounts.items) process.stdout.write(`earned ${usdc(earned)}, paid out ${usdc(settled)} of token ${token}\n`);
for (const channel of data.channels.items) {
  const state = channel.pendingWithdrawalId === null ? channel.status : "withdrawing";
  process.stdout.write(`channel ${channel.id} of ${channel.payer}: ${usdc(channel.totalClaimed)} claimed of ${usdc(channel.balance)}, ${state}\n`);
}
for (const claim of data.claims.items) process.stdout.write(`${usdc(claim.amount)} claimed (${claim.path}) in ${claim.transactionHash}\n`);
