// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

import {IVerifierPool} from "./interfaces/IVerifierPool.sol";
import {SeatTree} from "./libraries/SeatTree.sol";

/// @title VerifierPool
/// @notice The verifiers' stakes, the draw of a panel from them, and what accounts are owed.
/// @dev A panel's seed is the hash of a block that was still to come when the draw was asked for. From then until the draw, no
/// stake changes and panels are drawn in the order they were asked for; so once the seed is known, nobody can move the
/// outcome by bonding, unbonding, releasing a seat, or choosing which panel goes first.
abstract contract VerifierPool is IVerifierPool, ReentrancyGuardTransient {
    using SafeERC20 for IERC20;
    using SeatTree for SeatTree.Tree;

    /// @inheritdoc IVerifierPool
    address public immutable token;
    /// @inheritdoc IVerifierPool
    uint96 public immutable SEAT_BOND;

    struct Draw {
        uint256 jobId;
        uint8 round;
    }

    SeatTree.Tree private _tree;
    mapping(address account => Verifier) private _verifiers;
    mapping(uint256 index => address) private _verifierAt;
    uint256 private _seated;
    /// @inheritdoc IVerifierPool
    mapping(address account => uint256) public owed;
    mapping(uint256 position => Draw) private _draws;
    uint256 internal _drawHead;
    uint256 internal _drawTail;

    constructor(address token_, uint96 seatBond) {
        require(seatBond != 0, ZeroAmount());
        (token, SEAT_BOND) = (token_, seatBond);
    }

    // ------------------------------------------------------------------ stakes

    /// @inheritdoc IVerifierPool
    function bond(uint96 amount) external nonReentrant {
        _requireStill();
        require(amount != 0, ZeroAmount());
        Verifier memory verifier = _verifiers[msg.sender];
        if (verifier.index == 0) {
            verifier.index = uint32(_tree.append());
            _verifierAt[verifier.index] = msg.sender;
        }
        _setFree(msg.sender, verifier, verifier.free + amount);
        uint256 before = IERC20(token).balanceOf(address(this));
        IERC20(token).safeTransferFrom(msg.sender, address(this), amount);
        _requireReceived(before, amount);
        emit VerifierBonded(msg.sender, amount, verifier.free);
    }

    /// @inheritdoc IVerifierPool
    function unbond(uint96 amount) external nonReentrant {
        _requireStill();
        require(amount != 0, ZeroAmount());
        Verifier memory verifier = _verifiers[msg.sender];
        require(amount <= verifier.free, InsufficientStake(msg.sender, verifier.free, amount));
        _setFree(msg.sender, verifier, verifier.free - amount);
        emit VerifierUnbonded(msg.sender, amount, verifier.free);
        IERC20(token).safeTransfer(msg.sender, amount);
    }

    /// @dev Stores the verifier with that free stake; the tree follows.
    function _setFree(address account, Verifier memory verifier, uint96 free) private {
        uint256 had = verifier.free / SEAT_BOND;
        uint256 has = free / SEAT_BOND;
        verifier.free = free;
        _verifiers[account] = verifier;
        if (has > had) _tree.add(verifier.index, has - had);
        if (has < had) _tree.sub(verifier.index, had - has);
        if (had == 0 && has != 0) ++_seated;
        if (had != 0 && has == 0) --_seated;
    }

    function _requireStill() internal view {
        require(_drawHead == _drawTail, DrawPending(_draws[_drawHead].jobId));
    }

    // ------------------------------------------------------------------ seats

    function _queueDraw(uint256 jobId, uint8 round) internal {
        _draws[_drawTail++] = Draw(jobId, round);
    }

    function _nextDraw() internal view returns (Draw memory) {
        return _draws[_drawHead];
    }

    /// @dev Draws up to `size` different verifiers, none of them among `excluded`, by stake; each gets a seat.
    function _drawSeats(bytes32 seed, uint256 size, address[] memory excluded) internal returns (address[] memory panel) {
        uint256 room = excluded.length + size;
        (uint256[] memory indices, uint256[] memory weights) = (new uint256[](room), new uint256[](room));
        uint256 count;
        uint256 left = _tree.total();
        for (uint256 i; i < excluded.length; ++i) {
            Verifier memory verifier = _verifiers[excluded[i]];
            // The same account twice would be taken off twice.
            if (verifier.index == 0 || _contains(indices, count, verifier.index)) continue;
            (indices[count], weights[count]) = (verifier.index, verifier.free / SEAT_BOND);
            left -= weights[count++];
        }
        uint256 skipped = count;
        while (left != 0 && count - skipped < size) {
            uint256 point = uint256(keccak256(abi.encode(seed, count - skipped))) % left;
            uint256 index = _tree.find(point, indices, weights, count);
            indices[count] = index;
            weights[count] = _verifiers[_verifierAt[index]].free / SEAT_BOND;
            left -= weights[count++];
        }
        panel = new address[](count - skipped);
        for (uint256 i; i < panel.length; ++i) {
            panel[i] = _verifierAt[indices[skipped + i]];
            _lockSeat(panel[i]);
        }
    }

    function _contains(uint256[] memory values, uint256 count, uint256 value) private pure returns (bool) {
        for (uint256 i; i < count; ++i) {
            if (values[i] == value) return true;
        }
        return false;
    }

    function _lockSeat(address account) private {
        Verifier memory verifier = _verifiers[account];
        verifier.locked += SEAT_BOND;
        _setFree(account, verifier, verifier.free - SEAT_BOND);
    }

    /// @dev The seat is over: its bond is free again.
    function _freeSeat(address account) internal {
        Verifier memory verifier = _verifiers[account];
        verifier.locked -= SEAT_BOND;
        _setFree(account, verifier, verifier.free + SEAT_BOND);
    }

    /// @dev The seat is over, and its bond goes to others, who were credited when the round was closed.
    function _slashSeat(address account, uint256 jobId, uint256 round) internal {
        _verifiers[account].locked -= SEAT_BOND;
        emit VerifierSlashed(account, jobId, round, SEAT_BOND);
    }

    // ------------------------------------------------------------------ credits

    function _credit(address account, uint256 jobId, uint256 amount) internal {
        if (amount == 0) return;
        owed[account] += amount;
        emit Credited(account, jobId, amount);
    }

    /// @inheritdoc IVerifierPool
    function withdraw(address account) external nonReentrant returns (uint256 amount) {
        amount = owed[account];
        require(amount != 0, ZeroAmount());
        owed[account] = 0;
        emit Withdrawn(account, amount);
        IERC20(token).safeTransfer(account, amount);
    }

    function _requireReceived(uint256 balanceBefore, uint256 amount) internal view {
        uint256 balance = IERC20(token).balanceOf(address(this));
        require(balance == balanceBefore + amount, WrongTokenBalance(balance, balanceBefore + amount));
    }

    // ------------------------------------------------------------------ views

    /// @inheritdoc IVerifierPool
    function verifiers(address account) external view returns (Verifier memory) {
        return _verifiers[account];
    }

    /// @inheritdoc IVerifierPool
    function seatsAvailable() public view returns (uint256 verifierCount, uint256 seats) {
        return (_seated, _tree.total());
    }
}
