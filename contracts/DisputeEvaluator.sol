// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {DisputeDigests} from "./DisputeDigests.sol";
import {IACPHook} from "./interfaces/IACPHook.sol";
import {IDisputeEvaluator} from "./interfaces/IDisputeEvaluator.sol";
import {IERC3009} from "./interfaces/IERC3009.sol";
import {IERC8183} from "./interfaces/IERC8183.sol";
import {IJobEscrow} from "./interfaces/IJobEscrow.sol";
import {Median} from "./libraries/Median.sol";
import {VerifierPool} from "./VerifierPool.sol";

/// @title DisputeEvaluator
/// @notice Settles jobs of one JobEscrow: by silence, by concession, by a panel of verifiers or by an arbitrator. Ownerless,
/// without proxy or pause.
/// @dev Time is what makes rulings worth something: the escrow refunds the client of an expired job, whatever is being
/// disputed. So the work is taken only while all that may follow still fits before the expiry (`spanOf`), every step has a
/// last second that does not depend on when anyone sends a transaction, and MIN_WINDOW is left to execute the ruling.
///
/// Tokens here are the verifiers' stakes, free and locked, the bonds of disputes under way, and what accounts are owed:
/// nothing is paid in passing.
contract DisputeEvaluator is IDisputeEvaluator, VerifierPool, DisputeDigests {
    using SafeERC20 for IERC20;

    // ------------------------------------------------------------------ constants

    /// @inheritdoc IDisputeEvaluator
    uint8 public constant MAX_PANEL = 9;
    /// @inheritdoc IDisputeEvaluator
    uint256 public constant VALUE_MULTIPLE = 10;
    /// @inheritdoc IDisputeEvaluator
    uint256 public constant SEED_DELAY = 2;
    uint16 private constant BPS = 10_000;
    /// @dev The least bond of a dispute: that part of the bonds of its panel, so that a seat earns something.
    uint256 private constant BOND_DIVISOR = 100;

    /// @inheritdoc IDisputeEvaluator
    address public immutable escrow;
    /// @inheritdoc IDisputeEvaluator
    uint32 public immutable MIN_WINDOW;

    // ------------------------------------------------------------------ storage

    mapping(uint256 jobId => Case) private _cases;
    mapping(uint256 jobId => mapping(uint256 round => Round)) private _rounds;
    mapping(uint256 jobId => mapping(uint256 round => Seat[])) private _panels;

    /// @param token_ The escrow's; not asked for, so that the cost of a deployment can be told before the escrow stands.
    constructor(address escrow_, address token_, uint96 seatBond, uint32 minWindow)
        VerifierPool(token_, seatBond)
    {
        require(minWindow != 0, InvalidConfiguration());
        (escrow, MIN_WINDOW) = (escrow_, minWindow);
    }

    // ------------------------------------------------------------------ hook

    /// @inheritdoc IACPHook
    function beforeAction(uint256, bytes4, bytes calldata) external pure {}

    /// @inheritdoc IACPHook
    /// @dev A revert here takes the verb back. Not under the guard: the escrow calls it in the middle of this contract's own.
    function afterAction(uint256 jobId, bytes4 selector, bytes calldata data) external {
        require(msg.sender == escrow, OnlyEscrow(msg.sender));
        if (selector == IERC8183.fund.selector) _hired(jobId, data);
        else if (selector == IERC8183.submit.selector) _submitted(jobId);
    }

    function _hired(uint256 jobId, bytes calldata data) private {
        IJobEscrow.JobState memory job = _job(jobId);
        require(job.evaluator == address(this), NotItsEvaluator(jobId, job.evaluator));
        Terms memory terms = abi.decode(data, (Terms));
        _requireSound(jobId, terms, job);
        _requireFits(jobId, terms, job.expiredAt);
        Case storage case_ = _cases[jobId];
        (case_.terms, case_.phase) = (terms, Phase.Hired);
        emit TermsSet(jobId, job.client, job.provider, terms);
    }

    function _requireSound(uint256 jobId, Terms memory terms, IJobEscrow.JobState memory job) private view {
        bool windows = terms.reviewWindow >= MIN_WINDOW && terms.commitWindow >= MIN_WINDOW
            && terms.revealWindow >= MIN_WINDOW && terms.defaultBps <= BPS;
        bool agent = terms.clientAgent != job.provider;
        if (terms.arbitrator != address(0)) {
            bool alone = terms.panelSize == 0 && terms.quorum == 0 && terms.escalationWindow == 0;
            bool third = terms.arbitrator != job.client && terms.arbitrator != job.provider
                && terms.arbitrator != terms.clientAgent;
            require(windows && agent && alone && third, InvalidTerms(jobId));
            return;
        }
        uint256 size = terms.panelSize;
        bool panel = size != 0 && size <= MAX_PANEL && terms.quorum <= size && terms.quorum * 2 > size;
        bool bonded = terms.disputeBond <= type(uint96).max / 2 && terms.disputeBond >= size * SEAT_BOND / BOND_DIVISOR;
        require(windows && agent && panel && bonded && terms.escalationWindow >= MIN_WINDOW, InvalidTerms(jobId));
        require(job.budget <= maxValue(size), ValueAboveBonds(job.budget, maxValue(size)));
        (uint256 verifierCount,) = seatsAvailable();
        require(verifierCount >= size, TooFewVerifiers(size, verifierCount));
    }

    function _submitted(uint256 jobId) private {
        Case storage case_ = _cases[jobId];
        Terms memory terms = case_.terms;
        require(case_.phase == Phase.Hired, WrongPhase(jobId, case_.phase));
        IJobEscrow.JobState memory job = _job(jobId);
        _requireFits(jobId, terms, job.expiredAt);
        (case_.submittedAt, case_.phase) = (uint40(block.timestamp), Phase.Review);
        emit ReviewStarted(jobId, job.client, job.provider, block.timestamp + terms.reviewWindow);
    }

    function _requireFits(uint256 jobId, Terms memory terms, uint256 expiredAt) private view {
        uint256 endsAt = block.timestamp + _span(terms);
        require(endsAt <= expiredAt, DoesNotFit(jobId, endsAt, expiredAt));
    }

    // ------------------------------------------------------------------ without a dispute

    /// @inheritdoc IDisputeEvaluator
    function finalize(uint256 jobId) external nonReentrant {
        Case storage case_ = _inPhase(jobId, Phase.Review);
        uint256 reviewed = uint256(case_.submittedAt) + case_.terms.reviewWindow;
        require(block.timestamp >= reviewed, TooEarly(jobId, reviewed, block.timestamp));
        case_.phase = Phase.Closed;
        IJobEscrow.JobState memory job = _job(jobId);
        emit AcceptedBySilence(jobId, job.client, job.provider);
        _execute(jobId, job, BPS, "silence");
    }

    /// @inheritdoc IDisputeEvaluator
    function concede(uint256 jobId) external {
        _concede(jobId, msg.sender);
    }

    /// @inheritdoc IDisputeEvaluator
    function concedeBySig(uint256 jobId, address party, uint256 deadline, bytes calldata signature) external {
        _requireSignature(party, getConcessionDigest(jobId, party, deadline), deadline, signature);
        _concede(jobId, party);
    }

    function _concede(uint256 jobId, address party) private nonReentrant {
        Case storage case_ = _cases[jobId];
        Phase phase = case_.phase;
        require(phase != Phase.None && phase != Phase.Closed, WrongPhase(jobId, phase));
        IJobEscrow.JobState memory job = _job(jobId);
        bool clientSide = _isClientSide(case_, job, party);
        require(clientSide || party == job.provider, NotParty(party));
        // Nothing was submitted that could be paid.
        require(!(clientSide && phase == Phase.Hired), WrongPhase(jobId, phase));
        uint16 providerBps = clientSide ? BPS : 0;
        emit Conceded(jobId, party, providerBps);
        if (phase == Phase.Disputed) {
            if (_rounds[jobId][case_.round].endedAt == 0) _cutShort(jobId, case_, providerBps);
            _settle(jobId, case_, job, providerBps, "conceded");
        } else {
            case_.phase = Phase.Closed;
            _execute(jobId, job, providerBps, "conceded");
        }
    }

    // ------------------------------------------------------------------ dispute

    /// @inheritdoc IDisputeEvaluator
    function dispute(uint256 jobId, bytes32 evidence) external nonReentrant {
        uint96 amount = _dispute(jobId, msg.sender, evidence);
        _pull(msg.sender, amount);
    }

    /// @inheritdoc IDisputeEvaluator
    function disputeWithAuthorization(uint256 jobId, address party, bytes32 evidence, bytes calldata authorization)
        external
        nonReentrant
    {
        uint96 amount = _dispute(jobId, party, evidence);
        _receive(party, amount, getDisputeDigest(jobId, party, evidence), authorization);
    }

    function _dispute(uint256 jobId, address party, bytes32 evidence) private returns (uint96 amount) {
        Case storage case_ = _inPhase(jobId, Phase.Review);
        IJobEscrow.JobState memory job = _job(jobId);
        require(_isClientSide(case_, job, party), NotParty(party));
        uint256 until = uint256(case_.submittedAt) + case_.terms.reviewWindow;
        require(block.timestamp < until, TooLate(jobId, until, block.timestamp));
        amount = case_.terms.disputeBond;
        case_.phase = Phase.Disputed;
        emit Disputed(jobId, job.client, job.provider, party, amount, evidence);
        _startRound(jobId, case_, 1, party, amount);
    }

    /// @inheritdoc IDisputeEvaluator
    function addEvidence(uint256 jobId, bytes32 evidence) external {
        Case storage case_ = _inPhase(jobId, Phase.Disputed);
        require(_isParty(case_, _job(jobId), msg.sender), NotParty(msg.sender));
        emit EvidenceAdded(jobId, msg.sender, evidence);
    }

    function _startRound(uint256 jobId, Case storage case_, uint8 round, address payer, uint96 amount) private {
        case_.round = round;
        Round storage opened = _rounds[jobId][round];
        (opened.startedAt, opened.payer, opened.bond) = (uint40(block.timestamp), payer, amount);
        if (case_.terms.arbitrator != address(0)) return;
        opened.seedBlock = uint64(block.number + SEED_DELAY);
        _queueDraw(jobId, round);
    }

    // ------------------------------------------------------------------ panel

    /// @inheritdoc IDisputeEvaluator
    function draw() external nonReentrant {
        require(_drawHead != _drawTail, NothingToDraw());
        Draw memory next = _nextDraw();
        Case storage case_ = _cases[next.jobId];
        Round storage round = _rounds[next.jobId][next.round];
        if (round.endedAt != 0 || block.timestamp >= _commitEnd(case_, round)) {
            ++_drawHead;
            emit DrawDropped(next.jobId, next.round);
            return;
        }
        uint256 seedBlock = round.seedBlock;
        require(block.number > seedBlock, SeedNotKnown(seedBlock, block.number));
        bytes32 hash = blockhash(seedBlock);
        if (hash == 0) {
            round.seedBlock = uint64(block.number + SEED_DELAY);
            emit DrawPostponed(next.jobId, next.round, round.seedBlock);
            return;
        }
        ++_drawHead;
        _seat(next, case_, round, keccak256(abi.encode(hash, next.jobId, next.round)));
    }

    function _seat(Draw memory next, Case storage case_, Round storage round, bytes32 seed) private {
        Seat[] storage first = _panels[next.jobId][1];
        address[] memory excluded = new address[](3 + first.length);
        IJobEscrow.JobState memory job = _job(next.jobId);
        (excluded[0], excluded[1], excluded[2]) = (job.client, job.provider, case_.terms.clientAgent);
        for (uint256 i; i < first.length; ++i) {
            excluded[3 + i] = first[i].verifier;
        }
        address[] memory drawn = _drawSeats(seed, _panelSize(case_, next.round), excluded);
        Seat[] storage panel = _panels[next.jobId][next.round];
        for (uint256 i; i < drawn.length; ++i) {
            panel.push(Seat(drawn[i], 0, false, 0));
        }
        (round.drawn, round.seats) = (true, uint8(drawn.length));
        emit PanelDrawn(next.jobId, next.round, drawn);
    }

    /// @inheritdoc IDisputeEvaluator
    function commitVote(uint256 jobId, uint256 seat, bytes32 commitment) external {
        _commit(jobId, seat, commitment, msg.sender);
    }

    /// @inheritdoc IDisputeEvaluator
    function commitVoteBySig(uint256 jobId, uint256 seat, bytes32 commitment, uint256 deadline, bytes calldata signature)
        external
    {
        uint256 round = _cases[jobId].round;
        address verifier = _seatOf(jobId, round, seat).verifier;
        _requireSignature(verifier, getVoteDigest(jobId, round, seat, commitment, deadline), deadline, signature);
        _commit(jobId, seat, commitment, verifier);
    }

    function _commit(uint256 jobId, uint256 number, bytes32 commitment, address sender) private {
        Case storage case_ = _inPhase(jobId, Phase.Disputed);
        Round storage round = _rounds[jobId][case_.round];
        Seat storage seat = _seatOf(jobId, case_.round, number);
        require(sender == seat.verifier, NotSeated(sender, number));
        uint256 until = _commitEnd(case_, round);
        require(block.timestamp < until, TooLate(jobId, until, block.timestamp));
        require(commitment != 0, InvalidVote(number));
        require(seat.commitment == 0, AlreadyCommitted(number));
        seat.commitment = commitment;
        ++round.committed;
        emit VoteCommitted(jobId, sender, case_.round, number, commitment);
    }

    /// @inheritdoc IDisputeEvaluator
    function revealVote(uint256 jobId, uint256 number, uint16 providerBps, bytes32 reason, bytes32 salt) external {
        Case storage case_ = _inPhase(jobId, Phase.Disputed);
        uint8 index = case_.round;
        Round storage round = _rounds[jobId][index];
        Seat storage seat = _seatOf(jobId, index, number);
        uint256 from = _commitEnd(case_, round);
        require(
            round.committed == round.seats || block.timestamp >= from, TooEarly(jobId, from, block.timestamp)
        );
        uint256 until = from + case_.terms.revealWindow;
        require(block.timestamp < until, TooLate(jobId, until, block.timestamp));
        require(!seat.revealed, AlreadyRevealed(number));
        address verifier = seat.verifier;
        require(
            providerBps <= BPS && seat.commitment == getCommitment(jobId, index, verifier, providerBps, reason, salt),
            InvalidVote(number)
        );
        (seat.providerBps, seat.revealed) = (providerBps, true);
        round.reasoning = keccak256(abi.encode(round.reasoning, verifier, providerBps, reason));
        emit VoteRevealed(jobId, verifier, index, number, providerBps, reason);
        if (++round.revealed == round.seats) _close(jobId, case_, index, block.timestamp);
    }

    // ------------------------------------------------------------------ end of a round

    /// @dev Closes the round when its time is over; else it must have been closed by its last vote.
    function _ended(uint256 jobId, Case storage case_) private returns (Round storage round) {
        round = _rounds[jobId][case_.round];
        if (round.endedAt != 0) return round;
        uint256 end = _commitEnd(case_, round) + case_.terms.revealWindow;
        require(block.timestamp >= end, RoundGoesOn(jobId, case_.round));
        _close(jobId, case_, case_.round, end);
    }

    function _close(uint256 jobId, Case storage case_, uint8 index, uint256 endedAt) private {
        Round storage round = _rounds[jobId][index];
        uint256 revealed = round.revealed;
        uint256 quorum = uint256(case_.terms.quorum) * index;
        bool silent = revealed == 0 || revealed < quorum;
        uint16 result = index == 1 ? case_.terms.defaultBps : _rounds[jobId][1].resultBps;
        if (!silent) result = _median(jobId, index, revealed);
        (round.endedAt, round.resultBps) = (uint40(endedAt), result);
        emit RoundClosed(jobId, index, result, uint8(revealed), round.seats, silent);
        _payPanel(jobId, round, revealed, (round.seats - revealed) * SEAT_BOND);
    }

    function _median(uint256 jobId, uint256 index, uint256 revealed) private view returns (uint16) {
        Seat[] storage panel = _panels[jobId][index];
        uint16[] memory votes = new uint16[](revealed);
        uint256 count;
        for (uint256 i; count < revealed; ++i) {
            if (panel[i].revealed) votes[count++] = panel[i].providerBps;
        }
        return Median.medianOf(votes);
    }

    /// @dev A concession ends the round. While it goes on, the panel came in vain and is paid, and nobody was late yet.
    function _cutShort(uint256 jobId, Case storage case_, uint16 result) private {
        Round storage round = _rounds[jobId][case_.round];
        uint256 end = _commitEnd(case_, round) + case_.terms.revealWindow;
        if (block.timestamp >= end) return _close(jobId, case_, case_.round, end);
        (round.endedAt, round.resultBps, round.excused) = (uint40(block.timestamp), result, true);
        _payPanel(jobId, round, round.seats, 0);
    }

    /// @dev Half of the bond, and what absent seats lost, to the `earners`. Without any, the half goes back to who paid it, and
    /// the seats' bonds to the parties, whom the panel left alone, in equal parts.
    function _payPanel(uint256 jobId, Round storage round, uint256 earners, uint256 slashed) private {
        uint256 fee = round.bond / 2;
        if (earners != 0) {
            uint256 share = (fee + slashed) / earners;
            round.share = uint96(share);
            _credit(round.payer, jobId, fee + slashed - share * earners);
            return;
        }
        _credit(round.payer, jobId, fee);
        IJobEscrow.JobState memory job = _job(jobId);
        _credit(job.provider, jobId, slashed / 2);
        _credit(job.client, jobId, slashed - slashed / 2);
    }

    /// @inheritdoc IDisputeEvaluator
    function releaseSeats(uint256 jobId, uint256 index) external nonReentrant {
        _requireStill();
        Round storage round = _rounds[jobId][index];
        if (_cases[jobId].phase == Phase.Disputed && _cases[jobId].round == index) _ended(jobId, _cases[jobId]);
        require(round.endedAt != 0, RoundGoesOn(jobId, index));
        require(!round.released, AlreadyReleased(jobId, index));
        round.released = true;
        Seat[] storage panel = _panels[jobId][index];
        for (uint256 i; i < panel.length; ++i) {
            address verifier = panel[i].verifier;
            if (panel[i].revealed || round.excused) {
                _freeSeat(verifier);
                _credit(verifier, jobId, round.share);
            } else {
                _slashSeat(verifier, jobId, index);
            }
        }
        emit SeatsReleased(jobId, index);
    }

    // ------------------------------------------------------------------ arbitrator

    /// @inheritdoc IDisputeEvaluator
    function rule(uint256 jobId, uint16 providerBps, bytes32 reason) external {
        _rule(jobId, providerBps, reason, msg.sender);
    }

    /// @inheritdoc IDisputeEvaluator
    function ruleBySig(uint256 jobId, uint16 providerBps, bytes32 reason, uint256 deadline, bytes calldata signature)
        external
    {
        address arbitrator = _cases[jobId].terms.arbitrator;
        _requireSignature(arbitrator, getRulingDigest(jobId, providerBps, reason, deadline), deadline, signature);
        _rule(jobId, providerBps, reason, arbitrator);
    }

    function _rule(uint256 jobId, uint16 providerBps, bytes32 reason, address sender) private nonReentrant {
        Case storage case_ = _inPhase(jobId, Phase.Disputed);
        address arbitrator = case_.terms.arbitrator;
        require(arbitrator != address(0) && sender == arbitrator, NotArbitrator(sender, arbitrator));
        Round storage round = _rounds[jobId][1];
        uint256 until = _commitEnd(case_, round) + case_.terms.revealWindow;
        require(block.timestamp < until, TooLate(jobId, until, block.timestamp));
        require(providerBps <= BPS, InvalidVote(0));
        (round.endedAt, round.resultBps, round.reasoning) = (uint40(block.timestamp), providerBps, reason);
        emit RoundClosed(jobId, 1, providerBps, 1, 1, false);
        _credit(arbitrator, jobId, round.bond / 2);
        _settle(jobId, case_, _job(jobId), providerBps, reason);
    }

    // ------------------------------------------------------------------ escalate, resolve

    /// @inheritdoc IDisputeEvaluator
    function escalate(uint256 jobId) external nonReentrant {
        uint96 amount = _escalate(jobId, msg.sender);
        _pull(msg.sender, amount);
    }

    /// @inheritdoc IDisputeEvaluator
    function escalateWithAuthorization(uint256 jobId, address party, bytes calldata authorization) external nonReentrant {
        uint96 amount = _escalate(jobId, party);
        _receive(party, amount, getEscalationDigest(jobId, party), authorization);
    }

    function _escalate(uint256 jobId, address party) private returns (uint96 amount) {
        Case storage case_ = _inPhase(jobId, Phase.Disputed);
        require(case_.round == 1 && case_.terms.arbitrator == address(0), NoEscalation(jobId, case_.round));
        require(_isParty(case_, _job(jobId), party), NotParty(party));
        uint256 until = _ended(jobId, case_).endedAt + uint256(case_.terms.escalationWindow);
        require(block.timestamp < until, TooLate(jobId, until, block.timestamp));
        amount = case_.terms.disputeBond * 2;
        emit Escalated(jobId, party, amount);
        _startRound(jobId, case_, 2, party, amount);
    }

    /// @inheritdoc IDisputeEvaluator
    function resolve(uint256 jobId) external nonReentrant {
        Case storage case_ = _inPhase(jobId, Phase.Disputed);
        Round storage round = _ended(jobId, case_);
        uint256 from = round.endedAt + uint256(case_.round == 1 ? case_.terms.escalationWindow : 0);
        require(block.timestamp >= from, TooEarly(jobId, from, block.timestamp));
        _settle(jobId, case_, _job(jobId), round.resultBps, round.reasoning);
    }

    /// @dev The other half of each bond follows the ruling; then the escrow pays.
    function _settle(uint256 jobId, Case storage case_, IJobEscrow.JobState memory job, uint16 providerBps, bytes32 reason)
        private
    {
        case_.phase = Phase.Closed;
        Round storage first = _rounds[jobId][1];
        uint256 rest = first.bond - first.bond / 2;
        uint256 toProvider = rest * providerBps / BPS;
        _credit(job.provider, jobId, toProvider);
        _credit(first.payer, jobId, rest - toProvider);
        if (case_.round == 2) _settleEscalation(jobId, job, first.resultBps, providerBps);
        uint256 part = uint256(job.budget) * providerBps / BPS;
        emit Ruled(jobId, job.client, job.provider, providerBps, part, job.budget - part, reason);
        _execute(jobId, job, providerBps, reason);
    }

    /// @dev Back to who escalated when it was the better for it, else to the other side.
    function _settleEscalation(uint256 jobId, IJobEscrow.JobState memory job, uint16 before, uint16 providerBps) private {
        Round storage second = _rounds[jobId][2];
        address payer = second.payer;
        bool byProvider = payer == job.provider;
        bool better = byProvider ? providerBps > before : providerBps < before;
        address other = byProvider ? job.client : job.provider;
        _credit(better ? payer : other, jobId, second.bond - second.bond / 2);
    }

    /// @dev A job that expired although there was time has been refunded; what is left is what is here.
    function _execute(uint256 jobId, IJobEscrow.JobState memory job, uint16 providerBps, bytes32 reason) private {
        if (job.status != IERC8183.JobStatus.Funded && job.status != IERC8183.JobStatus.Submitted) return;
        if (providerBps == 0) IJobEscrow(escrow).reject(jobId, reason, "");
        else if (providerBps == BPS) IJobEscrow(escrow).complete(jobId, reason, "");
        else IJobEscrow(escrow).completeSplit(jobId, providerBps, reason, "");
    }

    // ------------------------------------------------------------------ bonds

    function _pull(address from, uint256 amount) private {
        if (amount == 0) return;
        uint256 before = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransferFrom(from, address(this), amount);
        _requireReceived(before, amount);
    }

    /// @dev The authorisation is the party's consent as well, so it is asked for even when the bond is zero.
    function _receive(address from, uint256 amount, bytes32 digest, bytes calldata authorization) private {
        (uint256 validAfter, uint256 validBefore, bytes32 salt, bytes memory signature) =
            abi.decode(authorization, (uint256, uint256, bytes32, bytes));
        uint256 before = IERC20(token).balanceOf(address(this));
        IERC3009(token).receiveWithAuthorization(
            from, address(this), amount, validAfter, validBefore, keccak256(abi.encode(digest, salt)), signature
        );
        _requireReceived(before, amount);
    }

    // ------------------------------------------------------------------ looking

    function _job(uint256 jobId) private view returns (IJobEscrow.JobState memory) {
        return IJobEscrow(escrow).stateOf(jobId);
    }

    function _inPhase(uint256 jobId, Phase phase) private view returns (Case storage case_) {
        case_ = _cases[jobId];
        require(case_.phase == phase, WrongPhase(jobId, case_.phase));
    }

    function _isClientSide(Case storage case_, IJobEscrow.JobState memory job, address account)
        private
        view
        returns (bool)
    {
        return account == job.client || (account != address(0) && account == case_.terms.clientAgent);
    }

    function _isParty(Case storage case_, IJobEscrow.JobState memory job, address account) private view returns (bool) {
        return account == job.provider || _isClientSide(case_, job, account);
    }

    function _commitEnd(Case storage case_, Round storage round) private view returns (uint256) {
        return uint256(round.startedAt) + case_.terms.commitWindow;
    }

    function _panelSize(Case storage case_, uint256 round) private view returns (uint256) {
        uint256 size = case_.terms.panelSize;
        return round == 1 ? size : 2 * size + 1;
    }

    function _seatOf(uint256 jobId, uint256 round, uint256 number) private view returns (Seat storage) {
        Seat[] storage panel = _panels[jobId][round];
        require(number < panel.length, NotSeated(msg.sender, number));
        return panel[number];
    }

    function _span(Terms memory terms) private view returns (uint256) {
        uint256 round = uint256(terms.commitWindow) + terms.revealWindow;
        uint256 rounds = terms.arbitrator != address(0) ? round : 2 * round + terms.escalationWindow;
        return uint256(terms.reviewWindow) + rounds + MIN_WINDOW;
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc IDisputeEvaluator
    function caseOf(uint256 jobId) external view returns (Case memory) {
        return _cases[jobId];
    }

    /// @inheritdoc IDisputeEvaluator
    function roundOf(uint256 jobId, uint256 round) external view returns (Round memory) {
        return _rounds[jobId][round];
    }

    /// @inheritdoc IDisputeEvaluator
    function panelOf(uint256 jobId, uint256 round) external view returns (Seat[] memory) {
        return _panels[jobId][round];
    }

    /// @inheritdoc IDisputeEvaluator
    function spanOf(Terms calldata terms) external view returns (uint256) {
        return _span(terms);
    }

    /// @inheritdoc IDisputeEvaluator
    function maxValue(uint256 panelSize) public view returns (uint256) {
        return VALUE_MULTIPLE * panelSize * SEAT_BOND;
    }

    /// @inheritdoc IDisputeEvaluator
    function getCommitment(uint256 jobId, uint256 round, address verifier, uint16 providerBps, bytes32 reason, bytes32 salt)
        public
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(jobId, round, verifier, providerBps, reason, salt));
    }
}
