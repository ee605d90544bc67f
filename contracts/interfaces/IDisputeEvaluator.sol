// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IACPHook} from "./IACPHook.sol";
import {IVerifierPool} from "./IVerifierPool.sol";

/// @title IDisputeEvaluator
/// @notice Evaluator and hook of a job in JobEscrow. After submission the client may look at the work for a while; its silence
/// accepts. A dispute goes to a panel of verifiers drawn by stake (or to one arbitrator), may be escalated once, and ends in
/// a share for the provider. All of it is fixed at hire, and ends before the job expires.
/// @dev Shares are basis points of the budget for the provider: 10000 refunds nothing, 0 all. Times are Unix seconds, windows
/// seconds, amounts atomic units of the escrow's token.
interface IDisputeEvaluator is IACPHook, IVerifierPool {
    // ------------------------------------------------------------------ types

    enum Phase {
        None,
        /// Funded, nothing submitted.
        Hired,
        /// Submitted; the client may dispute until the review window ends.
        Review,
        Disputed,
        Closed
    }

    /// @notice optParams of `fund` (or of hire), ABI-encoded. No window is shorter than MIN_WINDOW.
    struct Terms {
        uint32 reviewWindow;
        /// A panel is drawn and commits within it.
        uint32 commitWindow;
        uint32 revealWindow;
        /// After the first round; 0 in arbitrator mode.
        uint32 escalationWindow;
        /// n: seats of the first panel, at most MAX_PANEL; 0 in arbitrator mode. The second has 2n + 1.
        uint8 panelSize;
        /// m: votes without which a panel counts as silent; more than half of n. Of the second panel 2m.
        uint8 quorum;
        /// The ruling of a silent panel or arbitrator.
        uint16 defaultBps;
        /// Whoever disputes puts it up, whoever escalates twice that. One half pays the panel, the other follows the ruling.
        uint96 disputeBond;
        /// Rules alone, and finally; zero: a panel does.
        address arbitrator;
        /// May act for the client here, or zero. The agent of a client that hired by mandate.
        address clientAgent;
    }

    struct Case {
        Terms terms;
        uint40 submittedAt;
        Phase phase;
        /// 0 before a dispute, then 1, after escalation 2.
        uint8 round;
    }

    struct Round {
        uint40 startedAt;
        /// When its result was known; 0 while it goes on.
        uint40 endedAt;
        uint64 seedBlock;
        uint8 seats;
        uint8 committed;
        uint8 revealed;
        bool drawn;
        /// The parties ended it: nobody is slashed.
        bool excused;
        /// Its seats were given back.
        bool released;
        uint16 resultBps;
        /// What each seat that did its duty gets, atomic units.
        uint96 share;
        address payer;
        uint96 bond;
        /// Hash chain of the votes and their reasons; the arbitrator's reason.
        bytes32 reasoning;
    }

    struct Seat {
        address verifier;
        uint16 providerBps;
        bool revealed;
        bytes32 commitment;
    }

    // ------------------------------------------------------------------ events

    event TermsSet(uint256 indexed jobId, address indexed client, address indexed provider, Terms terms);
    event ReviewStarted(uint256 indexed jobId, address indexed client, address indexed provider, uint256 endsAt);
    event AcceptedBySilence(uint256 indexed jobId, address indexed client, address indexed provider);
    event Disputed(
        uint256 indexed jobId, address indexed client, address indexed provider, address by, uint256 bond, bytes32 evidence
    );
    event EvidenceAdded(uint256 indexed jobId, address indexed by, bytes32 evidence);
    event Conceded(uint256 indexed jobId, address indexed by, uint16 providerBps);
    event PanelDrawn(uint256 indexed jobId, uint256 indexed round, address[] verifiers);
    /// @notice The seed's block is too old to be asked for; another will be taken.
    event DrawPostponed(uint256 indexed jobId, uint256 indexed round, uint256 seedBlock);
    /// @notice The round ended, or its time to commit, before its panel was drawn.
    event DrawDropped(uint256 indexed jobId, uint256 indexed round);
    event VoteCommitted(uint256 indexed jobId, address indexed verifier, uint256 round, uint256 seat, bytes32 commitment);
    event VoteRevealed(
        uint256 indexed jobId, address indexed verifier, uint256 round, uint256 seat, uint16 providerBps, bytes32 reason
    );
    /// @param silent The quorum was missed, so the result is the default (or what the round before it said).
    event RoundClosed(uint256 indexed jobId, uint256 indexed round, uint16 resultBps, uint8 revealed, uint8 seats, bool silent);
    event Escalated(uint256 indexed jobId, address indexed by, uint256 bond);
    event SeatsReleased(uint256 indexed jobId, uint256 indexed round);
    /// @notice The dispute is over: refund none, partial or full by `clientAmount`.
    event Ruled(
        uint256 indexed jobId,
        address indexed client,
        address indexed provider,
        uint16 providerBps,
        uint256 providerAmount,
        uint256 clientAmount,
        bytes32 reasoning
    );

    // ------------------------------------------------------------------ errors

    error OnlyEscrow(address sender);
    /// @notice The job's evaluator is another.
    error NotItsEvaluator(uint256 jobId, address evaluator);
    error InvalidTerms(uint256 jobId);
    /// @notice More than VALUE_MULTIPLE times the bonds of the panel.
    error ValueAboveBonds(uint256 budget, uint256 most);
    error TooFewVerifiers(uint256 panelSize, uint256 verifierCount);
    /// @notice Review, both rounds and the margin would end at `endsAt`, after the job's expiry.
    error DoesNotFit(uint256 jobId, uint256 endsAt, uint256 expiredAt);
    error WrongPhase(uint256 jobId, Phase phase);
    error NotParty(address account);
    error TooEarly(uint256 jobId, uint256 from, uint256 timestamp);
    error TooLate(uint256 jobId, uint256 until, uint256 timestamp);
    error NotArbitrator(address sender, address arbitrator);
    error NoEscalation(uint256 jobId, uint256 round);
    error NothingToDraw();
    error SeedNotKnown(uint256 seedBlock, uint256 blockNumber);
    error NotSeated(address account, uint256 seat);
    error AlreadyCommitted(uint256 seat);
    error AlreadyRevealed(uint256 seat);
    error InvalidVote(uint256 seat);
    error RoundGoesOn(uint256 jobId, uint256 round);
    error AlreadyReleased(uint256 jobId, uint256 round);
    error InvalidSignature(address signer);
    error SignatureExpired(uint256 deadline, uint256 timestamp);
    error InvalidConfiguration();

    // ------------------------------------------------------------------ without a dispute

    /// @notice Anyone has an undisputed job completed once its review window is over.
    function finalize(uint256 jobId) external;

    /// @notice The sender, a party, gives in: the client (or its agent) has the provider paid in full, which is also how it
    /// accepts before the window ends; the provider has the client refunded in full, before it submitted too.
    function concede(uint256 jobId) external;

    /// @notice `concede` by anyone who holds the party's signature of Concession.
    function concedeBySig(uint256 jobId, address party, uint256 deadline, bytes calldata signature) external;

    // ------------------------------------------------------------------ dispute

    /// @notice The client or its agent contests the work within the review window; it pays the bond by allowance.
    /// @param evidence Hash of what it says.
    function dispute(uint256 jobId, bytes32 evidence) external;

    /// @notice The same by anyone who holds `party`'s ERC-3009 signature for the bond: a ReceiveWithAuthorization to this
    /// contract with nonce keccak256(abi.encode(getDisputeDigest(jobId, party, evidence), salt)).
    /// @param authorization abi.encode(uint256 validAfter, uint256 validBefore, bytes32 salt, bytes signature).
    function disputeWithAuthorization(uint256 jobId, address party, bytes32 evidence, bytes calldata authorization)
        external;

    /// @notice A party says more.
    function addEvidence(uint256 jobId, bytes32 evidence) external;

    /// @notice Draws the panel that waits longest; anyone may, once its seed is known.
    function draw() external;

    function commitVote(uint256 jobId, uint256 seat, bytes32 commitment) external;

    /// @notice `commitVote` by anyone who holds the verifier's signature of VoteCommitment.
    function commitVoteBySig(uint256 jobId, uint256 seat, bytes32 commitment, uint256 deadline, bytes calldata signature)
        external;

    /// @notice Opens the commitment of a seat; anyone who knows what is in it may.
    function revealVote(uint256 jobId, uint256 seat, uint16 providerBps, bytes32 reason, bytes32 salt) external;

    /// @notice The arbitrator rules; at once final.
    function rule(uint256 jobId, uint16 providerBps, bytes32 reason) external;

    /// @notice `rule` by anyone who holds the arbitrator's signature of Ruling.
    function ruleBySig(uint256 jobId, uint16 providerBps, bytes32 reason, uint256 deadline, bytes calldata signature)
        external;

    /// @notice A party asks for a second, larger panel; it pays twice the bond by allowance.
    function escalate(uint256 jobId) external;

    /// @notice The same by ERC-3009, nonce keccak256(abi.encode(getEscalationDigest(jobId, party), salt)).
    function escalateWithAuthorization(uint256 jobId, address party, bytes calldata authorization) external;

    /// @notice Anyone has the last ruling executed once it can no longer be escalated.
    function resolve(uint256 jobId) external;

    /// @notice Anyone gives the seats of a round that is over back: bonds to those who revealed, with their share of the fee and
    /// of the bonds of those who did not.
    function releaseSeats(uint256 jobId, uint256 round) external;

    // ------------------------------------------------------------------ views

    function caseOf(uint256 jobId) external view returns (Case memory);

    function roundOf(uint256 jobId, uint256 round) external view returns (Round memory);

    function panelOf(uint256 jobId, uint256 round) external view returns (Seat[] memory);

    /// @notice Seconds that terms need from submission until nothing is left to be ruled, with the margin.
    function spanOf(Terms calldata terms) external view returns (uint256);

    /// @notice Most that a job with a first panel of that size may cost.
    function maxValue(uint256 panelSize) external view returns (uint256);

    function getCommitment(uint256 jobId, uint256 round, address verifier, uint16 providerBps, bytes32 reason, bytes32 salt)
        external
        pure
        returns (bytes32);

    function escrow() external view returns (address);
    function MIN_WINDOW() external view returns (uint32);
    function MAX_PANEL() external view returns (uint8);
    function VALUE_MULTIPLE() external view returns (uint256);
    function SEED_DELAY() external view returns (uint256);
}
