// tallystick rate: says what a paid service was worth; signed by the payer, sent by the relayer.
import { isHex, type Hex } from "viem";
import { deployments } from "../../addresses.ts";
import { rateService, type PaidBy } from "../../bazaar/rate.ts";
import { BASE, BASE_SEPOLIA, LOCAL_JOB_ESCROW } from "../../constants.ts";
import type { Command } from "../command.ts";
import { CliError, usageError } from "../exit.ts";
import { wholeNumber } from "../parse.ts";
import { callOpen } from "../relayer-api.ts";
import { usdc } from "../money.ts";
import { columns } from "../output.ts";

export const rate: Command = {
  path: "rate",
  about: "Rate a service you paid by channel or for a job, without gas",
  args: "<service>",
  positionals: [1, 1],
  takesIds: true,
  details: `<service> is the relayer's name of it, or its id in the registry. Rated is what was claimed of the channel since its last rating, so it can
be rated again when more was claimed; a job is rated once, when its provider was paid. You sign, the relayer sends and pays the gas; the
registry checks that the service was paid.`,
  needs: ["relayer", "key"],
  options: {
    channel: { type: "string", value: "id", about: "the channel that paid" },
    job: { type: "string", value: "id", about: "or the job that was paid; you hired for it" },
    score: { type: "string", value: "0-100", about: "what it was worth" },
    registry: { type: "string", value: "address", about: "BazaarRegistry contract; the relayer's, where it is a published one or the local world's, when left out" },
  },
  examples: [
    { about: "after some calls were claimed", line: "tallystick rate docs --channel 0x51fe… --score 92" },
    { about: "what a finished job was worth", line: "tallystick rate translator --job 17 --score 70" },
  ],
  async run(context, { positionals: [service], values }) {
    const score = wholeNumber("score", values["score"] as string | undefined, 0, 100);
    if (score === undefined) throw usageError("Say what it was worth: --score <0-100>.");
    const { channel, job } = values as { channel?: string; job?: string };
    const unpaid = usageError("Say what paid: either --channel <id> or --job <id>.");
    if ((channel === undefined) === (job === undefined)) throw unpaid;
    if (channel !== undefined && (!isHex(channel) || channel.length !== 66)) throw unpaid;
    if (job !== undefined && !/^[1-9]\d{0,30}$/.test(job)) throw unpaid;
    const agent = await callOpen<{ id: Hex; registry: Hex; network: string }>(context, `/api/v1/agents/${encodeURIComponent(service!)}`);
    const chain = [BASE, BASE_SEPOLIA].find(({ chainId }) => agent.network === `eip155:${chainId}`);
    if (chain === undefined) throw new CliError({ code: "chain_unknown", detail: `The service is on ${agent.network}.` });
    const named = values["registry"] as Hex | undefined;
    const published = deployments[chain.chainId as keyof typeof deployments].contracts;
    // In the local world the relayer's word is taken: what is signed there is worth nothing elsewhere.
    const registry = named ?? (context.local === undefined ? published.BazaarRegistry : agent.registry);
    const escrow = context.local === undefined ? published.JobEscrow : LOCAL_JOB_ESCROW;
    const paidBy: PaidBy = job === undefined ? { channelId: channel as Hex } : { jobId: BigInt(job), escrow };
    const { rating, transaction } = await rateService({ relayerUrl: context.relayerUrl(), account: await context.account(), chainId: chain.chainId, registry, service: agent.id, paidBy, score });
    const facts: [string, string][] = [["service", agent.id], ["score", String(score)], ["of", job === undefined ? `${usdc(rating.claimed)} USDC claimed in all` : `${usdc(rating.claimed)} USDC for job ${job}`], ["transaction", `${transaction.hash} (${transaction.status})`]];
    return { json: { service: agent.id, score, claimed: rating.claimed.toString(), transaction }, text: columns(facts) };
  },
};
